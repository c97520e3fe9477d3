// SPDX-License-Identifier: Apache-2.0
//
// A scenario: a few actors over a freshly laid out memory, and what must hold of them. It lays the
// memory out once; runs begin with a copy of it.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "tests/explore/machine.hpp"

namespace explore {

using Variable = taskwork::platform::Atomic<std::uint64_t>;
using PlainVariable = taskwork::platform::Plain<std::uint64_t>;

/// Given to a scenario's lay_out.
class Setup {
public:
    Model model = Model::sc;

    unsigned process(bool may_die = false) { return machine().add_process(may_die); }
    /// A thread; `daemon`: it may still be blocked when all is over.
    unsigned thread(unsigned process, std::string name, std::function<void()> body,
                    bool daemon = false) {
        return machine().add_thread(process, std::move(name), std::move(body), daemon);
    }
    /// A handler that may interrupt the thread at any step, at most `times` times.
    void event(unsigned thread, std::string name, std::function<void()> body, unsigned times = 1) {
        for (unsigned index = 0; index < times; ++index) {
            machine().add_handler(thread, Role::event, name, body);
        }
    }
    /// What runs when a notification reaches the thread.
    void notification(unsigned thread, std::function<void()> body) {
        machine().add_handler(thread, Role::notification, "signal", std::move(body));
    }
    /// Checked when nothing can move but those that wait for rest, and again at the end.
    void at_rest(std::function<void()> check) { rest_checks.push_back(std::move(check)); }
    /// Checked at the end of each run, by the first thread's identity; may change memory.
    void at_end(std::function<void()> check) { end_checks.push_back(std::move(check)); }

    /// A variable of the scenario in modelled memory.
    Variable& variable(std::string name, std::uint64_t value = 0);
    PlainVariable& plain(std::string name, std::uint64_t value = 0);

    static Machine& machine() { return Machine::get(); }

    std::vector<std::function<void()>> rest_checks;
    std::vector<std::function<void()>> end_checks;
};

inline const std::vector<Model> kAllModels{Model::sc, Model::tso, Model::ra};

struct Scenario {
    std::string name;   ///< group.name
    std::string about;  ///< Threads, nesting, death.
    std::function<void(Setup&)> lay_out;
    std::vector<Model> models{Model::sc, Model::tso};
    /// Called after an exhaustive search with the outcomes that runs have reported: "" or what is
    /// wrong with them.
    std::function<std::string(Model, const std::set<std::string>&)> judge{};
    std::string expected_oracle{};  ///< A seeded fault: that this is reported is success.
    bool large = false;             ///< For `make prove` only.
};

/// All scenarios, in order.
std::vector<Scenario>& scenarios();

struct Registered {
    explicit Registered(Scenario scenario) { scenarios().push_back(std::move(scenario)); }
};

/// The documented edges of the watched state machine, {from << 8 | to}, with their names.
std::vector<std::pair<std::uint32_t, std::string>> documented_edges();

/// One result of the run now ending, for Scenario::judge.
void outcome(const std::string& text);
std::set<std::string>& outcomes();

/// Results that actors leave for the checks; commutative, and no step.
inline void note(unsigned index, std::uint64_t amount = 1) {
    Machine::get().note_add(index, amount);
}
inline std::uint64_t noted(unsigned index) { return Machine::get().note_get(index); }

/// Blocks until nothing else can move (a target that sleeps).
inline void await_rest() { step(Kind::await_rest, nullptr, 0, std::memory_order_relaxed); }
/// End of an operation: nothing that this actor has read before decides what it does from here on,
/// but for `summary`.
inline void forget(std::uint64_t summary = 0) {
    step(Kind::forget, nullptr, 0, std::memory_order_relaxed, summary);
}
/// A word for the table of a failure.
inline void comment(const std::string& text) { Machine::get().comment(text); }

/// Fails the run if the condition does not hold.
inline void check(bool condition, const char* oracle, const std::string& text) {
    if (!condition) {
        fail(oracle, text);
    }
}

}  // namespace explore
