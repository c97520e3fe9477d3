// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/report.hpp"

namespace taskwork::cli {

namespace {

Json events_json(const event::EventCounts& events) {
    return {{"fired", events.fired},
            {"dropped_nested", events.dropped_nested},
            {"dropped_stack", events.dropped_stack},
            {"faulted", events.faulted}};
}

Json programs_json(const Report& report) {
    Json list = Json::array();
    for (const ProgramReport& program : report.programs) {
        Json one = {{"name", program.name}};
        one.update(events_json(program.events));
        one["runs"] = program.runs;
        one["run_ns"] = program.run_ns;
        one["callbacks"] = program.callbacks;
        one["callback_ns"] = program.callback_ns;
        Json schedules = Json::object();
        for (unsigned result = 0; result < kScheduleResults; ++result) {
            schedules[kScheduleResultNames[result]] = program.schedules[result];
        }
        one["schedules"] = std::move(schedules);
        one["last_fault"] = program.last_fault.empty() ? Json(nullptr) : Json(program.last_fault);
        list.push_back(std::move(one));
    }
    return list;
}

Json maps_json(const Report& report) {
    Json maps = Json::object();
    for (const MapReport& map : report.maps) {
        maps[map.name] = map.elements;
    }
    return maps;
}

Json rings_json(const Report& report) {
    Json rings = Json::object();
    for (const MapReport& map : report.maps) {
        if (map.ring) {
            rings[map.name] = {{"records", map.ring->records},
                               {"bytes", map.ring->bytes},
                               {"dropped", map.ring->dropped}};
        }
    }
    return rings;
}

Json refused_json(const Report& report) {
    Json refused = Json::object();
    for (const MapReport& map : report.maps) {
        if (map.refused != 0) {
            refused[map.name] = map.refused;
        }
    }
    return refused;
}

Json held_back_json(const Report& report) {
    Json list = Json::array();
    for (const HeldBack& held : report.held_back) {
        list.push_back(
            {{"pid", held.pid}, {"tid", held.tid}, {"command", held.command}, {"ns", held.ns}});
    }
    return list;
}

Json counters_json(const Report& report) {
    event::EventCounts events;
    for (const ProgramReport& program : report.programs) {
        events.fired += program.events.fired;
        events.dropped_nested += program.events.dropped_nested;
        events.dropped_stack += program.events.dropped_stack;
        events.faulted += program.events.faulted;
    }
    Json counters = {{"scheduled", report.works.scheduled},
                     {"ran", report.works.ran},
                     {"cancelled", report.works.cancelled},
                     {"dropped", report.works.dropped},
                     {"in_flight", report.works.in_flight}};
    counters.update(events_json(events));
    counters["threads"] = report.tasks.threads;
    counters["processes"] = report.processes.size();
    counters["not_entered"] = report.not_entered.size();
    counters["drains"] = report.tasks.drains;
    counters["drains_cut"] = report.tasks.drains_cut;
    counters["notifications"] = report.tasks.notifications;
    counters["section_resets"] = report.tasks.resets;
    counters["threads_refused"] = report.tasks_refused + report.threads_refused;
    counters["processes_refused"] = report.processes_refused;
    counters["processors_shared"] = report.processors_shared;
    return counters;
}

Json processes_json(const Report& report) {
    Json list = Json::array();
    for (const ProcessReport& process : report.processes) {
        Json modules = Json::array();
        for (const Module& module : process.modules) {
            modules.push_back({{"start", module.start},
                               {"end", module.end},
                               {"offset", module.offset},
                               {"path", module.path}});
        }
        list.push_back(
            {{"pid", process.pid}, {"command", process.command}, {"modules", std::move(modules)}});
    }
    return list;
}

Json not_entered_json(const Report& report) {
    Json list = Json::array();
    for (const NotEntered& process : report.not_entered) {
        list.push_back(
            {{"pid", process.pid}, {"command", process.command}, {"reason", process.reason}});
    }
    return list;
}

}  // namespace

std::string report_json(const Report& report) {
    const LatencyTotals& latency = report.tasks.latency;
    const Json document = {
        {"version", TASKWORK_VERSION},
        {"command", report.command},
        {"exit_status", report.exit_status},
        {"signal", report.signal},
        {"event", report.event},
        {"notes", report.notes},
        {"times_ns",
         {{"elapsed", report.elapsed_ns}, {"user", report.user_ns}, {"system", report.system_ns}}},
        {"programs", programs_json(report)},
        {"counters", counters_json(report)},
        {"latency_ns",
         {{"count", latency.count()},
          {"p50", latency.percentile_ns(0.5)},
          {"p99", latency.percentile_ns(0.99)},
          {"max", latency.max_ns}}},
        {"maps", maps_json(report)},
        {"ring_buffers", rings_json(report)},
        {"maps_refused", refused_json(report)},
        {"held_back", held_back_json(report)},
        {"processes", processes_json(report)},
        {"not_entered", not_entered_json(report)},
    };
    return to_json_text(document) + "\n";
}

}  // namespace taskwork::cli
