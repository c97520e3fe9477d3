// SPDX-License-Identifier: Apache-2.0
//
// Which of the possible steps are enough to look at in a state (a persistent set): a set of
// transitions such that whatever the others do before one of them happens neither prevents it nor
// touches what it touches. Found by closing over "may touch the same place", where "may" is what an
// agent has been seen to do anywhere in the exploration. conflicts() notes what was relied on, and
// note_access() notices when that turns out wrong; then the search starts again, knowing more.
#include <bit>

#include "tests/explore/detail.hpp"
#include "tests/explore/machine.hpp"

namespace explore {

bool Machine::close(Who seed, std::uint32_t enabled, std::uint32_t* ample) {
    std::uint32_t chosen = 0;          // Transitions.
    std::uint32_t agents = bit(seed);  // Whose next transition is to be added.
    std::uint32_t done = 0;
    bool contended = false;
    const auto add_thread = [&](unsigned index) {
        const Thread& thread = world_.threads[index];
        agents |= bit(thread.active[thread.depth - 1U]);
    };
    while ((agents & ~done) != 0) {
        const auto agent = static_cast<unsigned>(std::countr_zero(agents & ~done));
        done |= bit(agent);
        if (agent >= kKill) {
            const unsigned process = agent - kKill;
            if ((enabled & bit(agent)) == 0) {
                continue;
            }
            chosen |= bit(agent);
            agents |= conflicts(thing(Thing::process, process), true, bit(agent));
            for (unsigned index = 0; index < thread_count_; ++index) {
                const Thread& thread = world_.threads[index];
                if (thread.process == process && thread.buffered != 0) {
                    return false;  // It writes all that.
                }
                if (thread.process == process && !thread.finished) {
                    add_thread(index);
                    agents |= conflicts(thing(Thing::life, index), true, bit(agent));
                    agents |= conflicts(thing(Thing::signal, index), true, bit(agent));
                }
            }
            continue;
        }
        if (agent >= kFlush) {
            const unsigned index = agent - kFlush;
            const Thread& thread = world_.threads[index];
            if (thread.buffered != 0) {
                chosen |= bit(agent);
                std::uint32_t own = bit(agent);
                for (unsigned other = 0; other < plans_.size(); ++other) {
                    if (world_.actors[other].thread == index) {
                        own |= bit(other);
                    }
                }
                std::uint32_t found = conflicts(thread.buffer[0].place, true, own);
                Request store;
                store.kind = Kind::store;
                store.operand = thread.buffer[0].value;
                const LifeUse life = life_use(thread.buffer[0].place, store);
                if (life.changes) {
                    found |= conflicts(life.place, true, own);
                }
                contended = contended || found != 0;
                agents |= found;
            } else if (!thread.finished && !world_.dead[thread.process]) {
                add_thread(index);
            }
            continue;
        }
        const Actor& actor = world_.actors[agent];
        const Thread& thread = world_.threads[actor.thread];
        if (thread.finished || actor.status == Status::finished || actor.status == Status::dead ||
            world_.dead[thread.process]) {
            continue;
        }
        if (actor.status == Status::idle) {
            add_thread(actor.thread);
            if (actor.role == Role::notification) {
                // Sending and delivering the signal do not commute.
                agents |= conflicts(thing(Thing::signal, actor.thread), true, bit(agent));
            }
            // An equal handler may stand for this one.
            for (unsigned other = 0; other < plans_.size(); ++other) {
                if (world_.actors[other].thread == actor.thread &&
                    plans_[other].name == plans_[agent].name && (enabled & bit(other)) != 0) {
                    chosen |= bit(other);
                }
            }
            continue;
        }
        if (thread.active[thread.depth - 1U] != agent) {
            add_thread(actor.thread);  // Interrupted: the handler must come to its end first.
            continue;
        }
        if (actor.status == Status::blocked) {
            return false;  // Whoever wakes it; not looked into.
        }
        if (!op_enabled(actor)) {
            agents |= bit(kFlush + actor.thread);
            continue;
        }
        chosen |= bit(agent);
        const Request& request = actor.request;
        if (request.kind == Kind::forget || request.kind == Kind::await_rest ||
            request.kind == Kind::membarrier) {
            return false;
        }
        std::uint32_t found = 0;
        if (request.place != kNowhere) {
            found |= contenders(agent, request);
        }
        if (request.kind == Kind::end) {
            // After it no handler can start here, and nobody can be killed here.
            for (unsigned other = 0; other < plans_.size(); ++other) {
                if (world_.actors[other].thread == actor.thread && other != agent &&
                    world_.actors[other].status == Status::idle) {
                    found |= bit(other);
                }
            }
            found |= conflicts(thing(Thing::signal, actor.thread), true, bit(agent));
            found |= conflicts(thing(Thing::process, actor.process), true, bit(agent));
            contended = true;
        }
        contended = contended || found != 0;
        agents |= found;
        if (contended && may_die_[actor.process] && !world_.dead[actor.process]) {
            agents |= bit(kKill + actor.process);
        }
    }
    *ample = chosen & enabled;
    return *ample != 0;
}

std::uint32_t Machine::ample(std::uint32_t enabled, std::uint32_t mandatory) {
    if (std::popcount(enabled) <= 1) {
        return enabled;
    }
    std::uint32_t best = enabled;
    // The actor that moved last first: fewer switches in what is found.
    std::uint32_t seeds = mandatory;
    for (bool first = true; seeds != 0; first = false) {
        unsigned seed = static_cast<unsigned>(std::countr_zero(seeds));
        if (first && (seeds & bit(world_.last)) != 0) {
            seed = world_.last;
        }
        seeds &= ~bit(seed);
        std::uint32_t found = 0;
        if (close(static_cast<Who>(seed), enabled, &found) &&
            std::popcount(found) < std::popcount(best)) {
            best = found;
            if (std::popcount(best) == 1) {
                break;
            }
        }
    }
    return best;
}

}  // namespace explore
