#include "tools/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

namespace kvfs {
namespace {

/// Feeds `script` to a program. Names in it are quoted for that program: no shell sees them.
bool run_script(const char* program, const std::string& script) {
    std::FILE* const pipe = ::popen(program, "w");
    if (pipe == nullptr) return false;
    const bool fed = std::fwrite(script.data(), 1, script.size(), pipe) == script.size();
    return ::pclose(pipe) == 0 && fed;
}

bool installed(const char* probe) { return run_script(probe, ""); }

std::string for_gnuplot(const std::string& text) {
    std::string quoted = "'";
    for (const char c : text) quoted.append(c == '\'' ? "''" : std::string(1, c));
    return quoted + "'";
}

/// Where all points have one x, gnuplot has to be told what to show to the sides of it.
std::string one_place(const Curves& curves) {
    double least = std::numeric_limits<double>::max(), most = 0;
    for (const auto& [name, points] : curves.lines)
        for (const auto& [x, y] : points) {
            least = std::min(least, x);
            most = std::max(most, x);
        }
    return least == most ? fmt::format("set xrange [{}:{}]\n", least / 2, most * 2) : "";
}

std::string gnuplot_script(const Curves& curves, const std::string& file,
                           const std::string& format) {
    std::string script = fmt::format(
        "set terminal {}\nset output {}\nset title {}\nset xlabel {}\nset ylabel {}\n"
        "set logscale x\nset yrange [0:*]\nset key bottom right\n{}",
        format == "pdf" ? "pdfcairo" : format, for_gnuplot(file), for_gnuplot(curves.title),
        for_gnuplot(curves.x), for_gnuplot(curves.y), one_place(curves));
    std::string plots, data;
    for (const auto& [name, points] : curves.lines) {
        plots += fmt::format("{} '-' with linespoints title {}", plots.empty() ? "plot" : ",",
                             for_gnuplot(name));
        for (const auto& [x, y] : points) data += fmt::format("{} {}\n", x, y);
        data += "e\n";
    }
    return script + plots + "\n" + data;
}

std::string matplotlib_script(const Curves& curves, const std::string& file) {
    // JSON of strings, lists and numbers is Python, too.
    const nlohmann::json lines = curves.lines, name = file, title = curves.title, x = curves.x,
                         y = curves.y;
    return fmt::format(
        "import matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as p\n"
        "for n, l in {}.items(): p.plot(*zip(*l), marker='o', label=n)\n"
        "p.xscale('log'); p.ylim(bottom=0); p.title({}); p.xlabel({}); p.ylabel({}); p.legend()\n"
        "p.savefig({})\n",
        lines.dump(), title.dump(), x.dump(), y.dump(), name.dump());
}

std::string extension(const std::string& file) { return std::filesystem::path(file).extension(); }

}  // namespace

bool plottable(const std::string& file) {
    return extension(file) == ".png" || extension(file) == ".svg" || extension(file) == ".pdf";
}

Status plot(const Curves& curves, const std::string& file) {
    // Where it cannot write, gnuplot draws to its standard output.
    if (!std::ofstream(file)) return Error{EACCES, file + ": the plot cannot be written there"};
    bool drawn = false;
    if (installed("gnuplot 2>/dev/null"))
        drawn = run_script("gnuplot", gnuplot_script(curves, file, extension(file).substr(1)));
    else if (installed("python3 -c 'import matplotlib' 2>/dev/null"))
        drawn = run_script("python3 -", matplotlib_script(curves, file));
    else
        return Error{ENOENT, "a plot needs gnuplot, or matplotlib for python3: neither is there"};
    return drawn ? Status{} : Error{ENOENT, file + ": the plot could not be drawn"};
}

}  // namespace kvfs
