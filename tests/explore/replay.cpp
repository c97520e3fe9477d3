// SPDX-License-Identifier: Apache-2.0
//
// One schedule alone: made again, and made short.
#include "tests/explore/detail.hpp"
#include "tests/explore/laid.hpp"
#include "tests/explore/search.hpp"

namespace explore {

bool replay(const Scenario& scenario, Model model, const std::vector<Transition>& path,
            Failure* failure) {
    Laid laid(scenario, model);
    Machine& machine = Machine::get();
    machine.begin_pass();
    machine.all_steps_park = true;
    machine.replaying = true;
    machine.recording = true;
    machine.restart();
    bool followed = true;
    while (machine.world().path_size < path.size() && !machine.world().failed) {
        machine.check_races();
        if (machine.world().failed) {
            break;
        }
        std::uint32_t mandatory = 0;
        const Transition next = path[machine.world().path_size];
        if ((machine.enabled(&mandatory) & bit(next.who)) == 0) {
            followed = false;
            break;
        }
        if (next.who == kRest) {
            check_end(laid.setup, false);
        }
        machine.perform(next);
    }
    if (!machine.world().failed && followed) {
        machine.check_races();
        std::uint32_t mandatory = 0;
        const std::uint32_t enabled = machine.enabled(&mandatory);
        if (!machine.world().failed && mandatory == 0 && (enabled & bit(kRest)) == 0) {
            check_end(laid.setup, true);
        }
    }
    if (machine.world().failed) {
        *failure = machine.failure();
    }
    machine.all_steps_park = false;
    machine.replaying = false;
    machine.recording = false;
    return followed;
}

std::vector<Transition> minimise(const Scenario& scenario, Model model,
                                 std::vector<Transition> path, const std::string& oracle) {
    // Whatever needs the fewest preemptions is the easiest to read.
    for (int preemptions = 0; preemptions <= 4; ++preemptions) {
        Options options;
        options.model = model;
        options.preemptions = preemptions;
        options.budget_seconds = 10;
        options.states_max = 300'000;
        Result result = search(scenario, options);
        if (result.failed && result.failure.oracle == oracle && !result.path.empty()) {
            return result.path;
        }
        if (!result.failed && result.bound.rfind("time", 0) == 0) {
            break;
        }
    }
    return path;
}

}  // namespace explore
