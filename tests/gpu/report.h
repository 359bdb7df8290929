#pragma once
#include <string>
#include <vector>

#include "tests/gpu/session.h"
#include "tools/verb.h"

namespace kvfs::gpu_check {

/// A row as it is written to the log and to the report; and back.
Json json_of(const BenchRow& row);
BenchRow row_of(const Json& entry);

/// What all sections have told so far, read from their log.
class Report {
  public:
    /// Lines that are no JSON are left out: who wrote them was killed.
    static Report read(const std::string& log);

    bool failed() const;
    std::vector<std::string> failures() const;
    /// For people: a Markdown document with a table for each section.
    std::string markdown(const std::string& title) const;
    /// For programs: everything, with every sample.
    Json json(const std::string& title) const;

  private:
    std::vector<Json> entries_;
};

/// Replaces the file as a whole. Throws Failure.
void write_whole(const std::string& path, const std::string& text);

}  // namespace kvfs::gpu_check
