// SPDX-License-Identifier: Apache-2.0
//
// What the comparisons share: how they are run, and the closing table, with each measurement beside
// its floor, the ratio, the goal, and whether it is reached. Filled by Google Benchmark as the
// repetitions come in; the least of them counts, for on a shared machine everything else that
// happens can only add.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace taskwork::bench {

/// Name of the counter by which a benchmark overrides Google Benchmark's mean time: the median of
/// its own samples, in ns an operation.
inline constexpr const char* kMedian = "median_ns";
/// And that by which one says that a repetition could not be measured.
inline constexpr const char* kUnmeasured = "unmeasured";

/// Times of single operations, of which the median counts: others use the processors too.
class Samples {
public:
    /// `operations` took `ns`. Context: task.
    void add(benchmark::State& state, std::uint64_t ns, std::uint64_t operations = 1) {
        // Never 0: the number of iterations would grow without end.
        state.SetIterationTime(static_cast<double>(ns == 0 ? 1 : ns) * 1e-9);
        add(static_cast<double>(ns) / static_cast<double>(operations));
    }
    /// ns of one operation. Context: task.
    void add(double ns) { each_.push_back(ns); }
    /// A repetition without samples is one that does not count. Context: task.
    void finish(benchmark::State& state);

private:
    std::vector<double> each_;
};

/// One line of the table. A limit that is 0 is none. What the benchmark says of itself (SetLabel())
/// and what its floor does stand below it.
struct Row {
    std::string name;    ///< Of the benchmark.
    std::string floor;   ///< Of the benchmark that it is held against; empty: none.
    double ratio_max{};  ///< Goal: at most so many times its floor.
    double ns_max{};     ///< Goal: at most so many ns.
    bool is_rival{};     ///< The floor is another implementation, which may be slower by far.
    double bytes{};      ///< Of an operation: what is moved in a second is printed, too.
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
    /// A part that cannot be measured although it should be: the comparison fails. Context: task.
    void error(const std::string& what, const std::string& why) {
        row({.name = what});
        errors_[what] = why;
    }
    /// Times are printed in us. Context: task.
    void in_microseconds() { unit_ns_ = 1000; }
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
    /// Why there is no figure of a benchmark that was to be measured; else empty.
    [[nodiscard]] std::string why_not(const std::string& name) const;
    void print_row(const Row& row) const;

    std::vector<Line> lines_;
    std::vector<std::string> notes_;
    double unit_ns_ = 1;
    std::map<std::string, double> least_ns_;
    std::map<std::string, std::string> labels_;  ///< Of the least.
    std::set<std::string> unmeasured_;           ///< In one repetition at least.
    std::map<std::string, std::string> errors_;
};

/// Whether one repetition is asked for, as `make test` does to see that it works: a comparison has
/// less to measure then. From `add` of compare() on. Context: task.
bool is_short();

/// The main function of a comparison: reads the command line (repetitions, at random and for how
/// long, unless it says otherwise), raises the priority where it may, has `add` register what there
/// is, measures and prints. Returns the exit status. Context: task.
int compare(int argc, char** argv, void (*add)(Report& report));

}  // namespace taskwork::bench
