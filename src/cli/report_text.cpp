// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/report.hpp"

namespace taskwork::cli {

namespace {

std::string join(const std::vector<std::string>& words) {
    std::string line;
    for (const std::string& word : words) {
        line += (line.empty() ? "" : " ") + word;
    }
    return line;
}

std::string schedules_text(const ProgramReport& program) {
    std::string text;
    for (unsigned result = 0; result < kScheduleResults; ++result) {
        if (result == 0 || program.schedules[result] != 0) {
            text +=
                fmt::format("{}{} {}", text.empty() ? "" : ", ",
                            with_commas(program.schedules[result]), kScheduleResultNames[result]);
        }
    }
    return text;
}

void add_programs(std::string& text, const Report& report) {
    for (const ProgramReport& program : report.programs) {
        const event::EventCounts& events = program.events;
        text += fmt::format("program {}\n", program.name);
        text += fmt::format("  events     {} fired, {} dropped ({} nested, {} too little stack), "
                            "{} faulted\n",
                            with_commas(events.fired),
                            with_commas(events.dropped_nested + events.dropped_stack),
                            with_commas(events.dropped_nested), with_commas(events.dropped_stack),
                            with_commas(events.faulted));
        if (!program.last_fault.empty()) {
            text += fmt::format("  last fault {}\n", program.last_fault);
        }
        if (program.runs != 0) {
            text += fmt::format("  run time   {} on average",
                                duration_text(program.run_ns / program.runs));
            text += program.callbacks == 0
                        ? "\n"
                        : fmt::format("; callbacks {}\n",
                                      duration_text(program.callback_ns / program.callbacks));
        }
        text += fmt::format("  schedules  {}\n", schedules_text(program));
    }
}

void add_not_entered(std::string& text, const Report& report) {
    if (report.not_entered.empty()) {
        return;
    }
    text += fmt::format("not entered: {} process{}\n", report.not_entered.size(),
                        report.not_entered.size() == 1 ? "" : "es");
    for (const NotEntered& process : report.not_entered) {
        text += fmt::format("  {:>7}  {}: {}\n", process.pid, process.command, process.reason);
    }
}

void add_held_back(std::string& text, const Report& report) {
    for (const HeldBack& held : report.held_back) {
        text += fmt::format("memory held back: by thread {} of process {} ({}), in one section "
                            "for {} at least\n",
                            held.tid, held.pid, held.command, duration_text(held.ns));
    }
}

void add_maps(std::string& text, const Report& report) {
    for (const MapReport& map : report.maps) {
        if (map.ring) {
            text += fmt::format("map {} ({}): {} records, {} bytes, {} dropped\n", map.name,
                                map.type, with_commas(map.ring->records),
                                with_commas(map.ring->bytes), with_commas(map.ring->dropped));
            continue;
        }
        text += fmt::format("map {} ({}): {} element{}", map.name, map.type,
                            with_commas(map.elements.size()), map.elements.size() == 1 ? "" : "s");
        text += map.refused == 0
                    ? "\n"
                    : fmt::format(", {} update{} found no memory\n", with_commas(map.refused),
                                  map.refused == 1 ? "" : "s");
        if (!map.elements.empty()) {
            text += to_bpftool_text(map.elements) + "\n";
        }
    }
}

}  // namespace

std::string with_commas(std::uint64_t number) {
    std::string digits = std::to_string(number);
    for (std::size_t at = digits.size(); at > 3; at -= 3) {
        digits.insert(at - 3, 1, ',');
    }
    return digits;
}

std::string duration_text(std::uint64_t ns) {
    const auto number = static_cast<double>(ns);
    // Three digits; the next unit begins where rounding would show "1000".
    struct Unit {
        const char* name;
        double ns;
    };
    for (const Unit unit : {Unit{"us", 1e3}, Unit{"ms", 1e6}, Unit{"s", 1e9}}) {
        const double value = number / unit.ns;
        if (ns < 1000) {
            return fmt::format("{} ns", ns);
        }
        if (value < 9.995) {
            return fmt::format("{:.2f} {}", value, unit.name);
        }
        if (value < 99.95) {
            return fmt::format("{:.1f} {}", value, unit.name);
        }
        if (value < 999.5) {
            return fmt::format("{:.0f} {}", value, unit.name);
        }
    }
    return fmt::format("{:.0f} s", number / 1e9);
}

std::string report_text(const Report& report) {
    std::string text = fmt::format("taskwork: {}\n", join(report.command));
    text += report.signal != 0 ? fmt::format("  ended by signal {}", report.signal)
                               : fmt::format("  ended with status {}", report.exit_status);
    text +=
        fmt::format(" after {}; CPU time: user {}, system {}\n", duration_text(report.elapsed_ns),
                    duration_text(report.user_ns), duration_text(report.system_ns));
    text += fmt::format("  sampled by {}; {} thread{} in {} process{}\n", report.event,
                        with_commas(report.tasks.threads), report.tasks.threads == 1 ? "" : "s",
                        report.processes.size(), report.processes.size() == 1 ? "" : "es");
    for (const std::string& note : report.notes) {
        text += fmt::format("  note: {}\n", note);
    }
    add_programs(text, report);

    const defer::WorkCounts& works = report.works;
    text += fmt::format("callbacks    {} scheduled: {} ran, {} cancelled, {} dropped",
                        with_commas(works.scheduled), with_commas(works.ran),
                        with_commas(works.cancelled), with_commas(works.dropped));
    text +=
        works.in_flight == 0 ? "\n" : fmt::format(", {} in flight\n", with_commas(works.in_flight));
    const LatencyTotals& latency = report.tasks.latency;
    text += "schedule to callback: ";
    text += latency.count() == 0
                ? "none ran\n"
                : fmt::format("p50 {}, p99 {}, max {}\n", duration_text(latency.percentile_ns(0.5)),
                              duration_text(latency.percentile_ns(0.99)),
                              duration_text(latency.max_ns));
    if (report.processors_shared != 0) {
        text += fmt::format("per-CPU slots: {} run{} of programs shared a processor's number: "
                            "updates that are not atomic may be lost\n",
                            with_commas(report.processors_shared),
                            report.processors_shared == 1 ? "" : "s");
    }
    add_not_entered(text, report);
    add_held_back(text, report);
    add_maps(text, report);
    return text;
}

}  // namespace taskwork::cli
