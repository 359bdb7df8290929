#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "fs/base/result.h"

namespace kvfs {

/// Lines of points (x, y) by their names; x is drawn in a logarithmic scale.
struct Curves {
    std::string title, x, y;
    std::map<std::string, std::vector<std::pair<double, double>>> lines;
};

/// Whether a file's name says in which format to draw: .png, .svg, .pdf.
bool plottable(const std::string& file);
/// Draws them into such a file, by gnuplot, or else python3's matplotlib. Errors, as a sentence:
/// ENOENT - neither is there, or it could not.
Status plot(const Curves& curves, const std::string& file);

}  // namespace kvfs
