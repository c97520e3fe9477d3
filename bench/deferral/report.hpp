// SPDX-License-Identifier: Apache-2.0
//
// The closing table: each measurement beside its floor, with the ratio, the goal, and whether it is
// reached. Filled by Google Benchmark as the repetitions come in; the least of them counts, for on
// a shared machine everything else that happens can only add.
#pragma once

#include <benchmark/benchmark.h>

#include <map>
#include <string>
#include <vector>

namespace taskwork::bench {

/// Name of the counter by which a benchmark overrides Google Benchmark's mean time: the median of
/// its own samples, in ns an operation.
inline constexpr const char* kMedian = "median_ns";

/// One line of the table. A limit that is 0 is none.
struct Row {
    std::string name;    ///< Of the benchmark.
    std::string floor;   ///< Of the benchmark that it is held against; empty: none.
    double ratio_max{};  ///< Goal: at most so many times its floor.
    double ns_max{};     ///< Goal: at most so many ns.
};

class Report : public benchmark::BenchmarkReporter {
public:
    /// Lines of the table stand in the order of these calls. Context: task.
    void heading(const std::string& text) { lines_.push_back({{}, text, Kind::heading}); }
    void row(const Row& row) { lines_.push_back({row, {}, Kind::row}); }
    /// A part that cannot be measured here says so in the table. Context: task.
    void skipped(const std::string& what, const std::string& why) {
        lines_.push_back({{what, "", 0, 0}, why, Kind::skipped});
    }
    /// A line under the table. Context: task.
    void note(const std::string& text) { notes_.push_back(text); }

    bool ReportContext(const Context& context) override;
    void ReportRuns(const std::vector<Run>& runs) override;
    void Finalize() override;

    /// Whether a benchmark ended with an error. Context: task.
    [[nodiscard]] bool failed() const { return !errors_.empty(); }

private:
    enum class Kind { heading, row, skipped };
    struct Line {
        Row row;
        std::string text;
        Kind kind;
    };
    void print_row(const Row& row) const;

    std::vector<Line> lines_;
    std::vector<std::string> notes_;
    std::map<std::string, double> least_ns_;
    std::map<std::string, std::string> errors_;
};

/// Each part registers its benchmarks and its lines. Context: task.
void add_local(Report& report);
void add_cross_thread(Report& report);
void add_throughput(Report& report);
void add_asio(Report& report);
void add_libuv(Report& report);
void add_kernel(Report& report);

}  // namespace taskwork::bench
