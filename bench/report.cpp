// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>

namespace taskwork::bench {

namespace {

constexpr int kNameWidth = 57;
constexpr int kFloorWidth = 36;
constexpr double kPlausible = 0.75;

bool repeats_once = false;

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

void Samples::finish(benchmark::State& state) {
    if (each_.empty()) {
        state.counters[kUnmeasured] = 1;
        return;
    }
    std::sort(each_.begin(), each_.end());
    state.counters[kMedian] = each_[each_.size() / 2];
    state.counters["p99_ns"] = each_[each_.size() * 99 / 100];
}

bool is_short() { return repeats_once; }

int compare(int argc, char** argv, void (*add)(Report& report)) {
    for (int i = 1; i < argc; ++i) {
        repeats_once = repeats_once || std::strcmp(argv[i], "--benchmark_repetitions=1") == 0;
    }
    std::vector<std::string> defaults = {"--benchmark_repetitions=9", "--benchmark_min_time=0.04",
                                         "--benchmark_enable_random_interleaving=true"};
    std::vector<char*> arguments = {argv[0]};
    for (std::string& argument : defaults) {
        arguments.push_back(argument.data());
    }
    arguments.insert(arguments.end(), argv + 1, argv + argc);
    int count = static_cast<int>(arguments.size());
    benchmark::Initialize(&count, arguments.data());
    if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) {
        return 1;
    }
    // Before the first thread, so that all have it: others use the processors too.
    const bool preferred = setpriority(PRIO_PROCESS, 0, -20) == 0;
    Report report;
    report.note(preferred ? "measured with nice -20" : "measured without nice -20 (not permitted)");
    add(report);
    benchmark::RunSpecifiedBenchmarks(&report);
    benchmark::Shutdown();
    return report.failed() ? 1 : 0;
}

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
        if (run.counters.find(kUnmeasured) != run.counters.end()) {
            unmeasured_.insert(name);
            continue;
        }
        const auto median = run.counters.find(kMedian);
        const double ns =
            median != run.counters.end() ? median->second.value : run.GetAdjustedCPUTime();
        std::fprintf(stderr, "  %s: %.1f ns\n", name.c_str(), ns);  // Progress.
        const auto known = least_ns_.find(name);
        if (known == least_ns_.end() || ns < known->second) {
            least_ns_[name] = ns;
            labels_[name] = run.report_label;
        }
    }
}

std::string Report::why_not(const std::string& name) const {
    if (const auto error = errors_.find(name); error != errors_.end()) {
        return "ERROR: " + error->second;
    }
    const bool is_known = least_ns_.count(name) != 0 || unmeasured_.count(name) == 0;
    return is_known ? "" : "NOT MEASURED: the machine did not let it";
}

void Report::print_row(const Row& row) const {
    const auto own = least_ns_.find(row.name);
    if (const std::string why = why_not(row.name); !why.empty()) {
        std::printf("%-*s %s\n", kNameWidth, row.name.c_str(), why.c_str());
        return;
    }
    if (own == least_ns_.end()) {
        return;  // Not among those that were asked for.
    }
    std::printf("%-*s %9.1f", kNameWidth, row.name.c_str(), own->second / unit_ns_);
    const auto floor = least_ns_.find(row.floor);
    double ratio = 0;
    if (floor != least_ns_.end()) {
        ratio = own->second / floor->second;
        std::printf("  %-*s %9.1f %7.2f", kFloorWidth, row.floor.c_str(), floor->second / unit_ns_,
                    ratio);
    } else {
        const std::string why = why_not(row.floor);
        const std::string text = why.empty() ? "-" : row.floor + ": " + why;
        std::printf("  %-*s %9s %7s", kFloorWidth, text.c_str(), "", "");
    }
    const bool has_goal = row.ratio_max > 0 || row.ns_max > 0;
    const bool unknown = row.ratio_max > 0 && floor == least_ns_.end();
    const bool reached = (row.ratio_max <= 0 || ratio <= row.ratio_max) &&
                         (row.ns_max <= 0 || own->second <= row.ns_max);
    // Nothing is much cheaper than its floor: the floor was not measured undisturbed.
    const bool disturbed = !row.is_rival && row.ratio_max > 0 && ratio > 0 && ratio < kPlausible;
    std::printf("  %-20s %s", goal_of(row).c_str(),
                !has_goal   ? "-"
                : disturbed ? "? floor disturbed"
                : unknown   ? "?"
                : reached   ? "yes"
                            : "NO");
    if (row.bytes > 0) {
        std::printf("   (%.1f million and %.0f MB a second)", 1e3 / own->second,
                    1e3 * row.bytes / own->second);
    }
    for (const std::string& name : {row.name, row.floor}) {
        if (const auto label = labels_.find(name);
            label != labels_.end() && !label->second.empty()) {
            std::printf("%s%s", name == row.name ? "\n    " : " | ", label->second.c_str());
        }
    }
    std::printf("\n");
}

void Report::Finalize() {
    const char* const unit = unit_ns_ == 1 ? "ns" : "us";
    std::printf("\n%-*s %9s  %-*s %9s %7s  %-20s %s\n", kNameWidth, "what", unit, kFloorWidth,
                "floor", unit, "ratio", "goal", "reached");
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
