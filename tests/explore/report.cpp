// SPDX-License-Identifier: Apache-2.0
#include "tests/explore/report.hpp"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>

namespace explore {

namespace {

constexpr unsigned kCell = 30;

std::uint32_t checksum(const std::vector<Transition>& path) {
    std::uint32_t sum = 2166136261U;
    for (const Transition& one : path) {
        sum = (sum ^ one.who) * 16777619U;
        sum = (sum ^ one.variant) * 16777619U;
    }
    return sum;
}

char letter_of(Who who, const std::vector<ActorPlan>& plans) {
    if (who == kRest) {
        return 'R';
    }
    if (who >= kKill) {
        return 'K';
    }
    if (who >= kFlush) {
        return 'F';
    }
    return who < plans.size() && plans[who].role != Role::thread ? 'N' : 'T';
}

unsigned number_of(Who who) {
    return who == kRest ? 0U : who >= kKill ? who - kKill : who >= kFlush ? who - kFlush : who;
}

const char* verb(Kind kind) {
    switch (kind) {
    case Kind::load:
    case Kind::plain_load:
        return "read";
    case Kind::store:
    case Kind::plain_store:
        return "write";
    case Kind::exchange:
    case Kind::exchange_part:
        return "swap";
    case Kind::compare_exchange:
    case Kind::compare_exchange_pair:
        return "cas";
    case Kind::add:
        return "add";
    case Kind::sub:
        return "sub";
    case Kind::bit_or:
        return "or";
    case Kind::bit_and:
        return "and";
    case Kind::fence:
        return "fence";
    case Kind::membarrier:
        return "membarrier";
    case Kind::notify:
        return "notify";
    case Kind::futex_wait:
        return "futex wait";
    case Kind::futex_wake:
        return "futex wake";
    case Kind::is_gone:
        return "is gone?";
    case Kind::resume:
        return "goes on";
    case Kind::await_rest:
        return "sleeps";
    case Kind::forget:
        return "operation ends";
    case Kind::end:
        return "ends";
    default:
        return "starts";
    }
}

std::string hex(std::uint64_t value) {
    char text[32];
    std::snprintf(text, sizeof(text), "%#" PRIx64, value);
    return text;
}

std::string describe(const Event& event, const Machine& machine) {
    const Request& request = event.request;
    const Who who = event.transition.who;
    if (who == kRest) {
        return "nothing else can move";
    }
    if (who >= kKill) {
        return "process " + std::to_string(who - kKill) + " is killed";
    }
    if (who >= kFlush) {
        return "flush " + machine.place_name(request.place) + " = " + hex(request.operand);
    }
    std::string text = verb(request.kind);
    if (request.place == kNowhere || request.kind == Kind::fence ||
        request.kind == Kind::membarrier) {
        return text;
    }
    text += " " + machine.place_name(request.place);
    switch (request.kind) {
    case Kind::load:
    case Kind::plain_load:
    case Kind::is_gone:
        return text + " -> " + hex(event.result);
    case Kind::store:
    case Kind::plain_store:
        return text + " = " + hex(request.operand);
    case Kind::compare_exchange:
    case Kind::compare_exchange_pair:
        return text + (event.result == request.expected
                           ? " " + hex(request.expected) + " => " + hex(request.operand)
                           : " fails: " + hex(event.result));
    case Kind::exchange:
    case Kind::exchange_part:
    case Kind::add:
    case Kind::sub:
    case Kind::bit_or:
    case Kind::bit_and:
        return text + " " + hex(request.operand) + ", was " + hex(event.result);
    case Kind::notify:
        return text + " -> " + std::to_string(event.result);
    default:
        return text;
    }
}

}  // namespace

std::string schedule_string(const std::string& scenario, Model model,
                            const std::vector<Transition>& path) {
    const auto& plans = Machine::get().plans();
    std::string text = "v1:" + scenario + ":" + name_of(model) + ":";
    for (std::size_t at = 0; at < path.size();) {
        std::size_t end = at;
        while (end < path.size() && path[end] == path[at]) {
            ++end;
        }
        text += at == 0 ? "" : ",";
        text += letter_of(path[at].who, plans);
        text += std::to_string(number_of(path[at].who));
        if (end - at > 1) {
            text += "x" + std::to_string(end - at);
        }
        if (path[at].variant == kDirect) {
            text += "d";
        } else if (path[at].variant != 0) {
            text += "v" + std::to_string(path[at].variant);
        }
        at = end;
    }
    char sum[16];
    std::snprintf(sum, sizeof(sum), ":%08x", checksum(path));
    return text + sum;
}

std::optional<Schedule> parse_schedule(const std::string& text) {
    Schedule schedule;
    const std::size_t first = text.find(':');
    const std::size_t second = text.find(':', first + 1);
    const std::size_t third = text.find(':', second + 1);
    const std::size_t last = text.rfind(':');
    if (first == std::string::npos || third == std::string::npos || last <= third ||
        text.substr(0, first) != "v1") {
        return std::nullopt;
    }
    schedule.scenario = text.substr(first + 1, second - first - 1);
    const std::string model = text.substr(second + 1, third - second - 1);
    schedule.model = model == "tso" ? Model::tso : model == "ra" ? Model::ra : Model::sc;
    const char* at = text.c_str() + third + 1;
    const char* const end = text.c_str() + last;
    while (at < end) {
        const char letter = *at++;
        char* next = nullptr;
        const auto number = static_cast<unsigned>(std::strtoul(at, &next, 10));
        at = next;
        std::size_t count = 1;
        Transition one;
        one.who = static_cast<Who>(letter == 'R'   ? kRest
                                   : letter == 'K' ? kKill + number
                                   : letter == 'F' ? kFlush + number
                                                   : number);
        if (*at == 'x') {
            count = std::strtoul(at + 1, &next, 10);
            at = next;
        }
        if (*at == 'v') {
            one.variant = static_cast<std::uint8_t>(std::strtoul(at + 1, &next, 10));
            at = next;
        } else if (*at == 'd') {
            one.variant = kDirect;
            ++at;
        }
        if (at < end && *at != ',') {
            return std::nullopt;
        }
        ++at;
        schedule.path.insert(schedule.path.end(), std::min<std::size_t>(count, 1'000'000), one);
    }
    char sum[16];
    std::snprintf(sum, sizeof(sum), "%08x", checksum(schedule.path));
    if (text.substr(last + 1) != sum) {
        return std::nullopt;
    }
    return schedule;
}

void print_result(const Scenario& scenario, const Options& options, const Result& result) {
    std::printf("explore %s: %s, %s | %" PRIu64 " states, %" PRIu64 " steps, %" PRIu64
                " runs, %u passes | %s | %.2f s\n",
                scenario.name.c_str(), scenario.about.c_str(), name_of(options.model),
                result.states, result.steps, result.runs, result.passes,
                result.failed          ? "FAILED"
                : result.bound.empty() ? "exhaustive"
                                       : ("bound: " + result.bound).c_str(),
                result.seconds);
    std::fflush(stdout);
}

bool print_run(const Scenario& scenario, Model model, const std::vector<Transition>& path) {
    Failure failure;
    const bool followed = replay(scenario, model, path, &failure);
    const Machine& machine = Machine::get();
    std::vector<unsigned> columns;  // Actors that move.
    for (const Event& event : machine.events) {
        const unsigned who = event.transition.who;
        if (who < kActorsMax && std::find(columns.begin(), columns.end(), who) == columns.end()) {
            columns.push_back(who);
        }
    }
    std::sort(columns.begin(), columns.end());
    std::printf("%5s", "step");
    for (const unsigned who : columns) {
        const std::string title = letter_of(static_cast<Who>(who), machine.plans()) +
                                  std::to_string(who) + " " + machine.plans()[who].name;
        std::printf(" | %-*s", static_cast<int>(kCell), title.c_str());
    }
    std::printf(" | note\n");
    unsigned step = 0;
    for (const Event& event : machine.events) {
        ++step;
        const unsigned who = event.transition.who;
        std::string text = describe(event, machine);
        std::printf("%5u", step);
        for (const unsigned column : columns) {
            const bool mine = column == who;
            std::printf(" | %-*s", static_cast<int>(kCell), mine ? text.c_str() : "");
        }
        std::printf(" | %s%s\n", who < kActorsMax ? "" : text.c_str(), event.note.c_str());
    }
    if (!followed) {
        std::printf("the schedule cannot be followed beyond step %u\n", step);
    }
    if (!failure.oracle.empty()) {
        std::printf("oracle: %s\n%s\n", failure.oracle.c_str(), failure.text.c_str());
    }
    std::fflush(stdout);
    return !failure.oracle.empty();
}

}  // namespace explore
