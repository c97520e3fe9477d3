// SPDX-License-Identifier: Apache-2.0
//
// A step: how it comes from explored code, and what it does once it is chosen.
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "tests/explore/detail.hpp"
#include "tests/explore/fiber.hpp"
#include "tests/explore/heap.hpp"
#include "tests/explore/machine.hpp"

namespace explore {

namespace {

/// More own steps than any thread or handler of ours takes, unless it waits for somebody.
constexpr std::uint32_t kThreadStepsMax = 20'000;
constexpr std::uint32_t kHandlerStepsMax = 2'000;

}  // namespace

std::uint64_t Machine::step(Kind kind, const void* address, unsigned size, std::memory_order order,
                            std::uint64_t operand, std::uint64_t expected, HighWord* high) {
    const HeapOf own(false);
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    if (address != nullptr && !is_modelled(at)) {
        return step_outside(kind, const_cast<void*>(address), size, operand, expected);
    }
    if (address != nullptr && is_part(at, size)) {
        return step_of_part(kind, at, size, order, operand);
    }
    if (current_ < 0) {
        return high != nullptr
                   ? pair_at_once(reinterpret_cast<std::uint64_t*>(at), operand, expected, *high)
                   : step_at_once(kind, const_cast<void*>(address), size, operand, expected);
    }
    const auto index = static_cast<unsigned>(current_);
    Actor& self = world_.actors[index];
    ++steps;
    if (++self.own_steps > (self.role == Role::thread ? kThreadStepsMax : kHandlerStepsMax)) {
        explore::fail(self.role == Role::thread ? "end" : "nmi-wait",
                      plans_[index].name + " goes on and on while the others stand still");
    }
    Request request;
    request.kind = kind;
    request.size = static_cast<std::uint8_t>(size);
    request.order = order;
    request.operand = operand;
    request.expected = expected;
    if (address != nullptr) {
        request.place = place_of(address, size);
        if (high != nullptr) {
            request.high = place_of(reinterpret_cast<const void*>(at + size), size);
            request.high_operand = high->operand;
            request.high_expected = high->expected;
            places_[request.place].pair = request.high;
            places_[request.high].pair = request.place;
            note_access(request.high, index, true);
        }
    } else if (kind == Kind::notify && operand != 0) {
        request.place = thing(Thing::signal, static_cast<unsigned>(operand - 1));
    } else if (model_ == Model::ra && kind == Kind::fence) {
        request.place = thing(Thing::order, 0);
    } else if (model_ == Model::ra && kind == Kind::membarrier) {
        request.place = thing(Thing::barrier, 0);
    } else if (kind == Kind::end) {
        request.place = thing(Thing::life, self.thread);
    } else if (kind == Kind::is_gone) {
        request.place = operand >= kProcessTarget
                            ? thing(Thing::process, static_cast<unsigned>(operand - kProcessTarget))
                            : thing(Thing::life, static_cast<unsigned>(operand));
    }
    if (request.place != kNowhere) {
        const bool writes = kind != Kind::load && kind != Kind::plain_load && kind != Kind::is_gone;
        note_access(request.place, index, writes);
        const LifeUse life = life_use(request.place, request);
        if (life.place != kNowhere) {
            note_access(life.place, index, life.changes);
        }
        if (const PlaceId second = second_place(request); second != kNowhere) {
            note_access(second, index, request.high != kNowhere);
        }
        if (feels_barrier(request)) {
            note_access(thing(Thing::barrier, 0), index, false);
        }
        if (kind == Kind::end) {
            note_access(thing(Thing::signal, self.thread), index, true);
            note_access(thing(Thing::process, self.process), index, true);
        }
        if (model_ == Model::tso && (kind == Kind::store || kind == Kind::plain_store)) {
            for (const PlaceId place : {request.place, life.changes ? life.place : kNowhere}) {
                if (place != kNowhere) {
                    note_access(place, kFlush + self.thread, true);
                }
                if (place != kNowhere && may_die_[self.process]) {
                    note_access(place, kKill + self.process, true);
                }
            }
        }
        if (is_plain(kind)) {
            places_[request.place].plain = true;
        }
    }
    if (!all_steps_park && is_memory(kind) &&
        (model_ == Model::sc || !places_[request.place].shared) &&
        contenders(index, request) == 0) {
        const Transition transition{static_cast<Who>(index),
                                    model_ == Model::sc ? std::uint8_t{0} : kDirect};
        // Recorded first: one that fails never returns, and a replay must come to it.
        record(transition, request, recording ? read(request.place) : 0, 0);
        const std::uint64_t result = execute_memory(index, request, kDirect);
        if (recording) {
            events.back().result = result;
        }
        if (high != nullptr) {
            high->found = self.high_result;
        }
        return result;
    }
    self.request = request;
    park(self);
    if (high != nullptr) {
        high->found = self.high_result;
    }
    return self.result;
}

/// What is no part of the model: stacks, each its actor's own, and what nobody writes.
std::uint64_t Machine::step_outside(Kind kind, void* address, unsigned size, std::uint64_t operand,
                                    std::uint64_t expected) {
    const std::uint64_t old = read_raw(address, size);
    const bool reads = kind == Kind::load || kind == Kind::plain_load ||
                       (kind == Kind::compare_exchange && old != expected);
    if (begun_) {
        const std::size_t offset =
            reinterpret_cast<std::uintptr_t>(address) - reinterpret_cast<std::uintptr_t>(stacks_);
        const bool on_stack = offset < (kActorsMax + 1) * kStackBytes;
        const unsigned own = current_ >= 0 ? static_cast<unsigned>(current_) : kActorsMax;
        if (on_stack ? offset / kStackBytes != own : !reads) {
            explore::fail("explorer", "a step touches memory that is not modelled");
            std::abort();
        }
    }
    if (!reads) {
        write_raw(address, size, updated(kind, old, operand, expected));
    }
    return old;
}

std::uint64_t Machine::step_of_part(Kind kind, std::uintptr_t address, unsigned size,
                                    std::memory_order order, std::uint64_t operand) {
    const auto* const word = reinterpret_cast<const void*>(address & ~std::uintptr_t{7});
    const unsigned shift = 8 * (address & 7);
    std::uint64_t old = 0;
    if (kind == Kind::load) {
        old = step(kind, word, 8, order, 0, 0);
    } else if (kind == Kind::exchange) {
        old = step(Kind::exchange_part, word, 8, order, operand << shift, mask_of(size) << shift);
    } else {
        explore::fail("explorer", "a part of a word is used as no model has it");
    }
    return old >> shift & mask_of(size);
}

std::uint64_t Machine::pair_at_once(std::uint64_t* words, std::uint64_t operand,
                                    std::uint64_t expected, HighWord& high) {
    const std::uint64_t low = step_at_once(Kind::load, &words[0], 8, 0, 0);
    high.found = step_at_once(Kind::load, &words[1], 8, 0, 0);
    if (low == expected && high.found == high.expected) {
        step_at_once(Kind::store, &words[0], 8, operand, 0);
        step_at_once(Kind::store, &words[1], 8, high.operand, 0);
    }
    return low;
}

std::uint64_t Machine::step_at_once(Kind kind, void* address, unsigned size, std::uint64_t operand,
                                    std::uint64_t expected) {
    if (kind == Kind::is_gone) {
        // Whoever asks is there.
        return is_gone(operand) && operand != static_cast<std::uint64_t>(identity_) ? 1 : 0;
    }
    if (!is_memory(kind)) {
        return 0;
    }
    if (begun_) {
        place_of(address, size);  // So that the next run does not find it changed.
    }
    const std::uint64_t old = read_raw(address, size);
    if (kind == Kind::load || kind == Kind::plain_load ||
        (kind == Kind::compare_exchange && old != expected)) {
        return old;
    }
    write_raw(address, size, updated(kind, old, operand, expected));
    if (begun_) {
        const Place& place = places_[place_of(address, size)];
        if (place.is_word) {
            check_edge(place, old, updated(kind, old, operand, expected));
        }
    }
    return old;
}

void Machine::record(Transition transition, const Request& request, std::uint64_t before,
                     std::uint64_t result) {
    if (path.size() <= world_.path_size) {
        path.resize(path.size() * 2 + 64);
    }
    path[world_.path_size++] = transition;
    if (recording) {
        Event event;
        event.transition = transition;
        event.request = request;
        event.before = before;
        event.result = result;
        events.push_back(std::move(event));
    }
}

void Machine::perform(Transition transition) {
    ++steps;
    const Who who = transition.who;
    if (who == kRest) {
        record(transition, Request{}, 0, 0);
        ++world_.rests;
        ra_rest();
        for (unsigned index = 0; index < plans_.size(); ++index) {
            Actor& actor = world_.actors[index];
            if (actor.status == Status::blocked && actor.waits_on == thing(Thing::rest, 0)) {
                actor.status = Status::ready;
                actor.request = Request{.kind = Kind::resume};
                actor.result = 0;
            }
        }
        return;
    }
    if (who >= kKill) {
        record(transition, Request{}, 0, 0);
        kill(who - kKill);
        return;
    }
    if (who >= kFlush) {
        const unsigned thread = who - kFlush;
        Request request;
        request.place = world_.threads[thread].buffer[0].place;
        request.operand = world_.threads[thread].buffer[0].value;
        record(transition, request, 0, 0);
        flush(thread);
        return;
    }
    Actor& actor = world_.actors[who];
    world_.last = who;
    if (actor.status == Status::idle) {
        record(transition, Request{}, 0, 0);
        start(who);
        return;
    }
    const Request request = actor.request;
    if (is_memory(request.kind)) {
        if (model_ != Model::sc) {
            const bool shared =
                replaying ? transition.variant != kDirect : places_[request.place].shared;
            if (!shared) {
                transition.variant = kDirect;
            } else if (model_ == Model::ra) {
                places_[request.place].shared = true;
                if (request.high != kNowhere) {
                    places_[request.high].shared = true;
                }
            }
        }
        const std::uint64_t before = recording ? read(request.place) : 0;
        actor.result = execute_memory(who, request, transition.variant);
        if (world_.failed) {
            record(transition, request, before, actor.result);
            return;
        }
        record(transition, request, before, actor.result);
        resume(who);
        return;
    }
    actor.result = execute(who, request, transition.variant);
    record(transition, request, 0, actor.result);
    if (actor.status == Status::ready) {
        resume(who);
    }
}

std::uint64_t Machine::execute(unsigned index, const Request& request, unsigned variant) {
    Actor& actor = world_.actors[index];
    switch (request.kind) {
    case Kind::resume:
        return actor.result;
    case Kind::fence:
        if (model_ == Model::ra) {
            ra_fence(actor.thread);
        }
        return 0;
    case Kind::membarrier:
        if (model_ == Model::tso) {
            drain_all();
        } else if (model_ == Model::ra) {
            ra_membarrier();
        }
        return 0;
    case Kind::notify: {
        if (request.operand == 0) {
            return ESRCH;
        }
        Thread& target = world_.threads[request.operand - 1];
        if (target.finished || world_.dead[target.process]) {
            return ESRCH;
        }
        if (variant != 0) {
            --world_.notify_failures_left;
            return EAGAIN;
        }
        target.signalled = true;
        ra_tell(actor.thread, static_cast<unsigned>(request.operand - 1));
        return 0;
    }
    case Kind::is_gone:
        if (!is_gone(request.operand)) {
            return 0;
        }
        if (model_ == Model::ra) {
            for (unsigned thread = 0; thread < thread_count_; ++thread) {
                if (request.operand == thread ||
                    request.operand == world_.threads[thread].process + kProcessTarget) {
                    ra_ended(thread, actor.thread);
                }
            }
        }
        return 1;
    case Kind::futex_wait:
        if (actor.role != Role::thread) {
            explore::fail("nmi-wait", plans_[index].name + " waits in a handler");
            return 0;
        }
        if (read(request.place) != request.expected) {
            return EAGAIN;
        }
        actor.status = Status::blocked;
        actor.waits_on = request.place;
        return 0;
    case Kind::futex_wake: {
        std::uint64_t woken = 0;
        for (unsigned other = 0; other < plans_.size() && woken < request.operand; ++other) {
            Actor& sleeper = world_.actors[other];
            if (sleeper.status == Status::blocked && sleeper.waits_on == request.place) {
                sleeper.status = Status::ready;
                sleeper.request = Request{.kind = Kind::resume};
                sleeper.result = 0;
                ra_tell(actor.thread, sleeper.thread);
                ra_told(sleeper.thread);
                ++woken;
            }
        }
        return woken;
    }
    case Kind::await_rest:
        actor.status = Status::blocked;
        actor.waits_on = thing(Thing::rest, 0);
        return 0;
    case Kind::forget:
        actor.own_steps = 0;
        return 0;
    case Kind::end:
        finished(index);
        return 0;
    default:
        fail("explorer", "a step of no kind");
        return 0;
    }
}

bool Machine::is_gone(std::uint64_t target) const {
    bool gone = true;
    for (unsigned index = 0; index < thread_count_; ++index) {
        const Thread& thread = world_.threads[index];
        if (target >= kProcessTarget ? thread.process + kProcessTarget == target
                                     : index == target) {
            gone = gone && (thread.finished || world_.dead[thread.process]);
        }
    }
    return gone;
}

}  // namespace explore
