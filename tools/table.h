#pragma once
#include <cstddef>
#include <iosfwd>
#include <string>
#include <vector>

namespace kvfs {

/// Text in aligned columns, for people: collects rows, then prints them as wide as they need to be.
class Table {
  public:
    enum class Align { kLeft, kRight };
    struct Column {
        std::string title;
        Align align = Align::kRight;
    };

    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

    /// As many cells as there are columns. The last column is never padded.
    void add(std::vector<std::string> cells);
    /// A line that interrupts the columns: a heading between rows.
    void add_heading(std::string text);
    bool empty() const { return rows_.empty(); }
    void print(std::ostream& out) const;

  private:
    struct Row {
        std::vector<std::string> cells;
        std::string heading;  ///< instead of cells
    };
    void print_cells(std::ostream& out, const std::vector<std::string>& cells,
                     const std::vector<std::size_t>& widths) const;

    std::vector<Column> columns_;
    std::vector<Row> rows_;
};

/// "12s", "3m", "4h", "5d": how long ago, as short as it can be said. Negative spans are "0s".
std::string format_age(double seconds);
/// "37.5 %", or "-" of nothing.
std::string format_percent(double part, double whole);
/// "12,345,678".
std::string format_count(std::uint64_t count);

}  // namespace kvfs
