// SPDX-License-Identifier: Apache-2.0
#include "tests/explore/laid.hpp"

#include <cstdio>
#include <cstdlib>

#include "sync/arena.hpp"
#include "tests/explore/heap.hpp"

namespace explore {

namespace {

constexpr std::size_t kArenaBytes = std::size_t{64} << 20;

}  // namespace

Laid::Laid(const Scenario& scenario, Model model) {
    Machine& machine = Machine::get();
    machine.reset();
    auto created = taskwork::sync::Arena::create(kArenaBytes);
    if (!created.has_value()) {
        std::fprintf(stderr, "explore: %s\n", created.error().text.c_str());
        std::exit(2);
    }
    setup.model = model;
    {
        const HeapOf explored(true);
        scenario.lay_out(setup);
    }
    machine.begin(model);
}

Laid::~Laid() { taskwork::sync::Arena::destroy(); }

void check_end(const Setup& setup, bool end) {
    Machine& machine = Machine::get();
    machine.run_checks([&] {
        for (const auto& check : setup.rest_checks) {
            check();
        }
        if (!end) {
            return;
        }
        for (unsigned index = 0; index < machine.plans().size(); ++index) {
            const Actor& actor = machine.world().actors[index];
            if (actor.status == Status::blocked && !machine.is_daemon(actor.thread)) {
                fail("lost-wakeup",
                     machine.plans()[index].name + " sleeps, and nobody is left to wake it");
            }
        }
        for (const auto& check : setup.end_checks) {
            check();
        }
    });
}

}  // namespace explore
