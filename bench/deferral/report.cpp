// SPDX-License-Identifier: Apache-2.0
#include "deferral/report.hpp"

#include <cstdio>
#include <cstdlib>
#include <iostream>

namespace taskwork::bench {

namespace {

constexpr int kNameWidth = 50;
constexpr int kFloorWidth = 36;
constexpr double kPlausible = 0.75;

std::string text_of(double value, const char* format) {
    char buffer[64];
    std::snprintf(buffer, sizeof(buffer), format, value);
    return buffer;
}

std::string load_average() {
    double load[3] = {};
    return ::getloadavg(load, 3) == 3
               ? text_of(load[0], "%.2f") + text_of(load[1], " %.2f") + text_of(load[2], " %.2f")
               : std::string("unknown");
}

std::string goal_of(const Row& row) {
    std::string goal;
    if (row.ratio_max > 0) {
        goal = text_of(row.ratio_max, "<= %.2fx");
    }
    if (row.ns_max > 0) {
        goal += (goal.empty() ? "" : ", ") + text_of(row.ns_max, "<= %.3g ns");
    }
    return goal.empty() ? "-" : goal;
}

}  // namespace

bool Report::ReportContext(const Context& context) {
    PrintBasicContext(&std::cerr, context);
    std::printf("load average at the start: %s\n", load_average().c_str());
    std::fflush(stdout);
    return true;
}

void Report::ReportRuns(const std::vector<Run>& runs) {
    for (const Run& run : runs) {
        if (run.run_type != Run::RT_Iteration) {
            continue;
        }
        const std::string& name = run.run_name.function_name;
        if (run.error_occurred) {
            errors_[name] = run.error_message;
            continue;
        }
        const auto median = run.counters.find(kMedian);
        const double ns =
            median != run.counters.end() ? median->second.value : run.GetAdjustedCPUTime();
        std::fprintf(stderr, "  %s: %.1f ns\n", name.c_str(), ns);  // Progress.
        const auto known = least_ns_.find(name);
        if (known == least_ns_.end() || ns < known->second) {
            least_ns_[name] = ns;
        }
    }
}

void Report::print_row(const Row& row) const {
    if (const auto error = errors_.find(row.name); error != errors_.end()) {
        std::printf("%-*s ERROR: %s\n", kNameWidth, row.name.c_str(), error->second.c_str());
        return;
    }
    const auto own = least_ns_.find(row.name);
    if (own == least_ns_.end()) {
        return;  // Not among those that were asked for.
    }
    std::printf("%-*s %9.1f", kNameWidth, row.name.c_str(), own->second);
    const auto floor = least_ns_.find(row.floor);
    double ratio = 0;
    if (floor != least_ns_.end()) {
        ratio = own->second / floor->second;
        std::printf("  %-*s %9.1f %7.2f", kFloorWidth, row.floor.c_str(), floor->second, ratio);
    } else {
        std::printf("  %-*s %9s %7s", kFloorWidth, "-", "", "");
    }
    const bool has_goal = row.ratio_max > 0 || row.ns_max > 0;
    const bool unknown = row.ratio_max > 0 && floor == least_ns_.end();
    const bool reached = (row.ratio_max <= 0 || ratio <= row.ratio_max) &&
                         (row.ns_max <= 0 || own->second <= row.ns_max);
    // Nothing is much cheaper than its floor: the floor was not measured undisturbed.
    const bool disturbed = row.ratio_max > 0 && ratio > 0 && ratio < kPlausible;
    std::printf("  %-20s %s\n", goal_of(row).c_str(),
                !has_goal   ? "-"
                : disturbed ? "? floor disturbed"
                : unknown   ? "?"
                : reached   ? "yes"
                            : "NO");
}

void Report::Finalize() {
    std::printf("\n%-*s %9s  %-*s %9s %7s  %-20s %s\n", kNameWidth, "what", "ns", kFloorWidth,
                "floor", "ns", "ratio", "goal", "reached");
    for (const Line& line : lines_) {
        switch (line.kind) {
        case Kind::heading:
            std::printf("-- %s\n", line.text.c_str());
            break;
        case Kind::row:
            print_row(line.row);
            break;
        case Kind::skipped:
            std::printf("%-*s SKIPPED: %s\n", kNameWidth, line.row.name.c_str(), line.text.c_str());
            break;
        }
    }
    for (const std::string& note : notes_) {
        std::printf("%s\n", note.c_str());
    }
    std::printf("load average at the end: %s\n", load_average().c_str());
    std::fflush(stdout);
}

}  // namespace taskwork::bench
