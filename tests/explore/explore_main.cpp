// SPDX-License-Identifier: Apache-2.0
//
// explore: runs scenarios over the concurrency core through all interleavings, or many. See
// docs/explorer.md.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>

#include "tests/explore/report.hpp"
#include "tests/explore/search.hpp"

namespace explore {

namespace {

enum class Exit { clean = 0, failure = 1, usage = 2 };

/// Whether `name` is meant by `wanted`: the name itself, or the group before its dot.
bool matches(const std::string& name, const std::string& wanted) {
    return name == wanted || name.rfind(wanted + ".", 0) == 0;
}

void list() {
    for (const Scenario& one : scenarios()) {
        std::string models;
        for (const Model model : one.models) {
            models += models.empty() ? "" : ",";
            models += name_of(model);
        }
        std::printf("%-36s %-10s %s%s\n", one.name.c_str(), models.c_str(), one.about.c_str(),
                    one.large ? " (large)" : "");
    }
}

/// True if the scenario did what it must.
bool run_one(const Scenario& scenario, const Options& options) {
    const Result result = search(scenario, options);
    if (!scenario.expected_oracle.empty() && result.failed &&
        result.failure.oracle == scenario.expected_oracle) {
        std::printf(
            "explore %s: %s, %s | found as it must be: oracle %s after %zu steps | %.2f s\n",
            scenario.name.c_str(), scenario.about.c_str(), name_of(options.model),
            scenario.expected_oracle.c_str(), result.path.size(), result.seconds);
        return true;
    }
    print_result(scenario, options, result);
    if (!result.failed) {
        if (!scenario.expected_oracle.empty()) {
            std::printf("oracle: none\nthe seeded fault was not found\n");
            return false;
        }
        return true;
    }
    if (result.path.empty()) {
        std::printf("oracle: %s\n%s\n", result.failure.oracle.c_str(), result.failure.text.c_str());
        return false;
    }
    const std::vector<Transition> path =
        minimise(scenario, options.model, result.path, result.failure.oracle);
    if (!print_run(scenario, options.model, path)) {
        std::printf("oracle: %s\n%s\nThe replay does not show it: a fault of the explorer.\n",
                    result.failure.oracle.c_str(), result.failure.text.c_str());
    }
    std::printf("replay: explore --replay '%s'\n",
                schedule_string(scenario.name, options.model, path).c_str());
    return false;
}

/// Whether the search with all its reductions comes to the same ends as one with none.
bool compare_one(const Scenario& scenario, Options options) {
    options.finals = true;
    options.naive = true;
    const Result all = search(scenario, options);
    options.naive = false;
    const Result reduced = search(scenario, options);
    const bool same = !all.failed && !reduced.failed && all.bound.empty() &&
                      reduced.bound.empty() && all.finals == reduced.finals;
    std::printf("explore --compare %s: %s | %zu ends of %llu runs, %zu ends of %llu runs | %s\n",
                scenario.name.c_str(), name_of(options.model), all.finals.size(),
                static_cast<unsigned long long>(all.runs), reduced.finals.size(),
                static_cast<unsigned long long>(reduced.runs), same ? "the same" : "DIFFERENT");
    return same;
}

/// How often each documented edge was taken; false if one never was.
bool print_edges() {
    const auto& taken = Machine::get().edges;
    bool all = true;
    for (const auto& [edge, name] : documented_edges()) {
        const auto found = taken.find(edge);
        const std::uint64_t count = found == taken.end() ? 0 : found->second;
        std::printf("edge %-24s %llu\n", name.c_str(), static_cast<unsigned long long>(count));
        all = all && count != 0;
    }
    if (!all) {
        std::printf("oracle: edge-coverage\na documented edge was taken in no run\n");
    }
    return all;
}

int run(int argc, char** argv) {
    CLI::App app{"Explores the interleavings of the concurrency core."};
    std::vector<std::string> names;
    bool list_only = false;
    bool large = false;
    bool compare = false;
    bool edges = false;
    std::string model;
    std::string schedule;
    Options options;
    app.add_option("NAME", names, "scenarios, or groups of them");
    app.add_flag("--list", list_only, "list the scenarios");
    app.add_flag("--large", large, "also those that take long");
    app.add_option("--model", model, "sc, tso or ra; default: all that the scenario is for")
        ->check(CLI::IsMember({"sc", "tso", "ra"}));
    auto* seed = app.add_option("--random", options.seed, "random runs from this seed");
    app.add_option("--runs", options.runs, "so many random runs");
    app.add_option("--preemptions", options.preemptions, "at most so many");
    app.add_option("--budget", options.budget_seconds,
                   "seconds of processor time for each scenario and model");
    app.add_option("--states", options.states_max, "states for each scenario and model");
    app.add_flag("--naive", options.naive, "no reduction at all (tiny scenarios)");
    app.add_flag("--edges", edges, "every documented edge of the state machine must be taken");
    app.add_flag("--compare", compare, "reduced and naive searches must come to the same ends");
    app.add_option("--replay", schedule, "runs one schedule and prints its table");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        const int code = app.exit(error);
        return static_cast<int>(code == 0 ? Exit::clean : Exit::usage);
    }
    options.random = seed->count() != 0;
    if (list_only) {
        list();
        return static_cast<int>(Exit::clean);
    }
    if (!schedule.empty()) {
        const auto parsed = parse_schedule(schedule);
        if (parsed) {
            for (const Scenario& one : scenarios()) {
                if (one.name == parsed->scenario) {
                    return static_cast<int>(
                        print_run(one, parsed->model, parsed->path) ? Exit::failure : Exit::clean);
                }
            }
        }
        std::fprintf(stderr, "explore: no such schedule\n");
        return static_cast<int>(Exit::usage);
    }
    for (const std::string& name : names) {
        if (std::none_of(scenarios().begin(), scenarios().end(),
                         [&](const Scenario& one) { return matches(one.name, name); })) {
            std::fprintf(stderr, "explore: no scenario %s\n", name.c_str());
            return static_cast<int>(Exit::usage);
        }
    }
    if (names.empty() && !large) {
        std::fprintf(stderr, "explore: name scenarios or groups; --list lists them\n");
        return static_cast<int>(Exit::usage);
    }
    bool clean = true;
    for (const Scenario& one : scenarios()) {
        bool wanted = names.empty();
        bool by_name = false;
        for (const std::string& name : names) {
            wanted = wanted || matches(one.name, name);
            by_name = by_name || one.name == name;
        }
        if (!wanted || (one.large && !large && !by_name)) {
            continue;
        }
        for (const Model each : one.models) {
            if (!model.empty() && model != name_of(each)) {
                continue;
            }
            options.model = each;
            if (compare) {
                if (one.expected_oracle.empty()) {
                    clean = compare_one(one, options) && clean;
                }
                continue;
            }
            clean = run_one(one, options) && clean;
        }
    }
    if (edges) {
        clean = print_edges() && clean;
    }
    return static_cast<int>(clean ? Exit::clean : Exit::failure);
}

}  // namespace

}  // namespace explore

int main(int argc, char** argv) { return explore::run(argc, argv); }
