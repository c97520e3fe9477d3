// SPDX-License-Identifier: Apache-2.0
//
// Who can move, and the life of actors: start, interruption, end, death.
#include <cerrno>
#include <cstdlib>

#include "tests/explore/detail.hpp"
#include "tests/explore/fiber.hpp"
#include "tests/explore/heap.hpp"
#include "tests/explore/machine.hpp"

namespace explore {

namespace {

void enter_fiber(unsigned actor) { Machine::get().fiber_main(actor); }
void enter_checks(unsigned) { Machine::get().checks_main(); }

}  // namespace

void Machine::update_possible() {
    std::uint32_t possible = 0;
    for (unsigned index = 0; index < plans_.size(); ++index) {
        const Actor& actor = world_.actors[index];
        const Thread& thread = world_.threads[actor.thread];
        if (actor.status == Status::dead || thread.finished || world_.dead[actor.process]) {
            continue;
        }
        if (actor.status != Status::finished) {
            possible |= bit(index);
        }
    }
    for (unsigned index = 0; index < thread_count_; ++index) {
        const Thread& thread = world_.threads[index];
        if (thread.buffered != 0 || (!thread.finished && !world_.dead[thread.process])) {
            possible |= bit(kFlush + index);
        }
    }
    for (unsigned index = 0; index < process_count_; ++index) {
        if (may_die_[index] && !world_.dead[index]) {
            possible |= bit(kKill + index);
        }
    }
    world_.possible = possible;
}

bool Machine::needs_drained(const Request& request) const {
    switch (request.kind) {
    case Kind::load:
    case Kind::plain_load:
    case Kind::plain_store:
    case Kind::forget:
    case Kind::resume:
    case Kind::await_rest:
        return false;
    case Kind::store:
        return request.order == std::memory_order_seq_cst && places_[request.place].shared;
    default:
        return !is_memory(request.kind) || places_[request.place].shared;
    }
}

bool Machine::op_enabled(const Actor& actor) const {
    if (actor.status != Status::ready) {
        return false;
    }
    if (model_ != Model::tso || replaying) {
        return true;
    }
    const Thread& thread = world_.threads[actor.thread];
    if (thread.buffered != 0 && needs_drained(actor.request)) {
        return false;
    }
    return thread.buffered + 1 < kBufferMax;
}

std::uint32_t Machine::enabled(std::uint32_t* mandatory) const {
    std::uint32_t all = 0;
    std::uint32_t must = 0;
    for (unsigned index = 0; index < thread_count_; ++index) {
        const Thread& thread = world_.threads[index];
        if (thread.buffered != 0) {
            must |= bit(kFlush + index);
        }
        if (thread.finished || world_.dead[thread.process]) {
            continue;
        }
        const unsigned top = thread.active[thread.depth - 1U];
        if (op_enabled(world_.actors[top])) {
            must |= bit(top);
        }
        if (thread.depth > nesting_) {
            continue;
        }
        const std::string* last = nullptr;
        for (unsigned other = 0; other < plans_.size(); ++other) {
            const Actor& actor = world_.actors[other];
            if (actor.thread != index || actor.role == Role::thread ||
                actor.status != Status::idle) {
                continue;
            }
            if (last != nullptr && *last == plans_[other].name) {
                continue;  // One of several equal handlers is as good as another.
            }
            last = &plans_[other].name;
            if (actor.role == Role::event) {
                all |= bit(other);
            } else if (thread.signalled) {
                must |= bit(other);
            }
        }
    }
    for (unsigned index = 0; index < process_count_; ++index) {
        if (may_die_[index] && !world_.dead[index]) {
            bool anybody = false;
            for (unsigned thread = 0; thread < thread_count_; ++thread) {
                anybody = anybody || (world_.threads[thread].process == index &&
                                      !world_.threads[thread].finished);
            }
            if (anybody) {
                all |= bit(kKill + index);
            }
        }
    }
    if (must == 0) {
        for (unsigned index = 0; index < plans_.size(); ++index) {
            if (world_.actors[index].status == Status::blocked &&
                world_.actors[index].waits_on == thing(Thing::rest, 0)) {
                all |= bit(kRest);
            }
        }
    }
    *mandatory = must;
    return all | must;
}

unsigned Machine::variants(Who who) const {
    if (who >= kActorsMax) {
        return 1;
    }
    const Actor& actor = world_.actors[who];
    if (actor.status != Status::ready) {
        return 1;
    }
    if (actor.request.kind == Kind::notify && world_.notify_failures_left != 0) {
        return 2;
    }
    if (model_ == Model::ra && is_memory(actor.request.kind) &&
        places_[actor.request.place].shared) {
        return ra_variants(actor.thread, actor.request);
    }
    return 1;
}

void Machine::park(Actor& actor) { switch_stack(&actor.stack_pointer, engine_sp_); }

void Machine::abandon() {
    if (checks_ != nullptr) {
        void* left = nullptr;
        switch_stack(&left, engine_sp_);
        std::abort();  // Nobody resumes it.
    }
    Actor& self = world_.actors[static_cast<unsigned>(current_)];
    park(self);
    std::abort();  // Nobody resumes it.
}

void Machine::run_checks(const std::function<void()>& checks) {
    checks_ = &checks;
    const int identity = identity_;
    switch_stack(&engine_sp_,
                 prepare_stack(stacks_ + (kActorsMax + 1) * kStackBytes, enter_checks, 0));
    identity_ = identity;
    checks_ = nullptr;
    HeapOf::set(false);
}

void Machine::checks_main() {
    HeapOf::set(true);
    (*checks_)();
    abandon();
}

void Machine::start(unsigned index) {
    Actor& actor = world_.actors[index];
    Thread& thread = world_.threads[actor.thread];
    actor.status = Status::ready;
    actor.own_steps = 0;
    if (actor.role != Role::thread) {
        thread.active[thread.depth++] = static_cast<std::uint8_t>(index);
        if (actor.role == Role::notification) {
            thread.signalled = false;
            ra_told(actor.thread);
        }
    }
    actor.stack_pointer = prepare_stack(stacks_ + (index + 1) * kStackBytes, enter_fiber, index);
    resume(index);
}

void Machine::resume(unsigned index) {
    current_ = static_cast<int>(index);
    switch_stack(&engine_sp_, world_.actors[index].stack_pointer);
    HeapOf::set(false);
    current_ = -1;
    Actor& actor = world_.actors[index];
    if (actor.status == Status::ready) {
        actor.history = stack_hash(index);
    }
    if (daemon_[actor.thread]) {
        world_.heap_hash = HeapOf::hash();  // The host's book is kept by its worker alone.
    }
}

void Machine::fiber_main(unsigned index) {
    HeapOf::set(true);
    plans_[index].body();
    HeapOf::set(false);
    Actor& self = world_.actors[index];
    if (self.role == Role::thread) {
        step(Kind::end, nullptr, 0, std::memory_order_relaxed, 0, 0);
    } else {
        finished(index);
    }
    abandon();
}

void Machine::finished(unsigned index) {
    Actor& actor = world_.actors[index];
    Thread& thread = world_.threads[actor.thread];
    actor.history = 0;
    if (actor.role == Role::thread) {
        actor.status = Status::finished;
        thread.finished = true;
    } else {
        // A signal may come again; an event was one of a number that the scenario gave.
        actor.status = actor.role == Role::notification ? Status::idle : Status::finished;
        --thread.depth;
        Actor& host = world_.actors[thread.active[thread.depth - 1U]];
        if (host.status == Status::blocked && host.waits_on != thing(Thing::rest, 0)) {
            host.status = Status::ready;
            host.request = Request{.kind = Kind::resume};
            host.result = EINTR;
        }
    }
    update_possible();
}

void Machine::kill(unsigned process) {
    // Nobody hears of a death before all that the dead have stored is to be seen.
    for (unsigned index = 0; index < thread_count_; ++index) {
        while (world_.threads[index].process == process && world_.threads[index].buffered != 0) {
            flush(index);
        }
    }
    world_.dead[process] = true;
    for (unsigned index = 0; index < plans_.size(); ++index) {
        if (world_.actors[index].process == process) {
            world_.actors[index].status = Status::dead;
            world_.actors[index].history = 0;
        }
    }
    update_possible();
}

}  // namespace explore
