// SPDX-License-Identifier: Apache-2.0
#include "tests/explore/search.hpp"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>

#include "tests/explore/detail.hpp"
#include "tests/explore/laid.hpp"

namespace explore {

namespace {

constexpr std::uint32_t kPathMax = 200'000;
/// Random runs before the first pass: they find most of who touches what, so that few passes have
/// to be made again.
constexpr unsigned kScoutRuns = 300;
constexpr std::uint64_t kReplayEvery = 1000;

/// Keys of states that have been expanded.
class Visited {
public:
    Visited() { table_.resize(1U << 16); }
    void clear() {
        table_.assign(table_.size(), 0);
        count_ = 0;
    }
    /// False if it was there.
    bool insert(std::uint64_t key) {
        if ((count_ + 1) * 2 > table_.size()) {
            std::vector<std::uint64_t> old(table_.size() * 2);
            old.swap(table_);
            for (const std::uint64_t one : old) {
                if (one != 0) {
                    place(one);
                }
            }
        }
        if (!place(key)) {
            return false;
        }
        ++count_;
        return true;
    }
    [[nodiscard]] std::uint64_t size() const { return count_; }

private:
    bool place(std::uint64_t key) {
        std::size_t at = (key * 0x9e3779b97f4a7c15ULL) >> 20 & (table_.size() - 1);
        while (table_[at] != 0) {
            if (table_[at] == key) {
                return false;
            }
            at = (at + 1) & (table_.size() - 1);
        }
        table_[at] = key;
        return true;
    }
    std::vector<std::uint64_t> table_;
    std::uint64_t count_ = 0;
};

class Searcher {
public:
    Searcher(const Scenario& scenario, const Options& options)
        : scenario_(scenario), options_(options), laid_(scenario, options.model),
          machine_(Machine::get()), begin_(std::clock()) {
        outcomes().clear();
    }

    Result run() {
        machine_.steps = 0;
        machine_.all_steps_park = options_.naive;
        machine_.recording = false;
        machine_.replaying = false;
        machine_.begin_pass();
        scout();
        if (!result_.failed) {
            options_.random ? random_runs() : passes();
        }
        if (!result_.failed && result_.bound.empty() && scenario_.judge) {
            const std::string wrong = scenario_.judge(options_.model, outcomes());
            if (!wrong.empty()) {
                result_.failed = true;
                result_.failure = {"outcomes", wrong};
            }
        }
        if (!result_.failed) {
            const std::string untracked = machine_.untracked();
            if (!untracked.empty()) {
                result_.failed = true;
                result_.failure = {"explorer", untracked};
            }
        }
        result_.steps = machine_.steps;
        result_.seconds = seconds();
        machine_.all_steps_park = false;
        return result_;
    }

private:
    struct Node {
        Snapshot before;
        std::vector<Transition> left;
    };

    bool out_of_time() {
        return options_.budget_seconds > 0 && seconds() > options_.budget_seconds;
    }

    /// Of processor time: what else the machine does must not cut a search short.
    double seconds() const { return static_cast<double>(std::clock() - begin_) / CLOCKS_PER_SEC; }

    void failed() {
        // What was taken for a thread's own has ordered nothing, not even by the fences of its
        // exchanges of pairs: with what is known by now the next pass says whether it fails.
        if (machine_.model() == Model::ra && machine_.assumptions_broken) {
            return;
        }
        result_.failed = true;
        result_.failure = machine_.failure();
        result_.path.assign(machine_.path.begin(),
                            machine_.path.begin() + machine_.world().path_size);
    }

    void check_end(bool end) { explore::check_end(laid_.setup, end); }

    bool costs(Who who, std::uint32_t enabled) const {
        const Who last = machine_.world().last;
        return options_.preemptions >= 0 && who < kActorsMax && who != last &&
               (enabled & bit(last)) != 0;
    }

    void perform(Transition transition, std::uint32_t enabled) {
        if (transition.who == kRest) {
            check_end(false);
        }
        if (costs(transition.who, enabled)) {
            --machine_.world().preemptions_left;
        }
        machine_.perform(transition);
        if (machine_.world().path_size > kPathMax) {
            machine_.fail("end", "an execution goes on and on");
        }
    }

    void expand(std::uint32_t set, std::uint32_t enabled, std::vector<Transition>* to) const {
        to->clear();
        const auto add = [&](unsigned who) {
            if (costs(static_cast<Who>(who), enabled) && machine_.world().preemptions_left == 0) {
                return;
            }
            for (unsigned variant = machine_.variants(static_cast<Who>(who)); variant-- > 0;) {
                to->push_back({static_cast<Who>(who), static_cast<std::uint8_t>(variant)});
            }
        };
        // The last is taken first: whoever moved last goes on.
        for (unsigned who = 32; who-- > 0;) {
            if ((set & bit(who)) != 0 && who != machine_.world().last) {
                add(who);
            }
        }
        if ((set & bit(machine_.world().last)) != 0) {
            add(machine_.world().last);
        }
    }

    /// Follows the path of the run just made from the start; it must lead to the same state.
    void check_determinism() {
        const std::uint64_t key = machine_.state_key();
        const std::vector<Transition> path(machine_.path.begin(),
                                           machine_.path.begin() + machine_.world().path_size);
        machine_.restart();
        while (machine_.world().path_size < path.size() && !machine_.world().failed) {
            machine_.perform(path[machine_.world().path_size]);
        }
        if (options_.preemptions < 0 &&
            (machine_.state_key() != key ||
             !std::equal(path.begin(), path.end(), machine_.path.begin()))) {
            machine_.fail("explorer", "the same schedule has led to another state");
        }
    }

    void passes() {
        do {
            machine_.begin_pass();
            ++result_.passes;
            visited_.clear();
            result_.states = 0;
            result_.runs = 0;
            machine_.steps = 0;
            outcomes().clear();
            result_.finals.clear();
            depth_first();
        } while (!result_.failed && result_.bound.empty() && machine_.assumptions_broken);
        if (result_.bound.empty() && options_.preemptions >= 0) {
            result_.bound = std::to_string(options_.preemptions) + " preemptions";
        }
    }

    void depth_first() {
        if (options_.preemptions >= 0) {
            machine_.world().preemptions_left = static_cast<std::uint32_t>(options_.preemptions);
        }
        machine_.restart();
        trail_.clear();
        std::size_t depth = 0;
        std::vector<Transition> choices;
        bool ended = false;
        for (;;) {
            if (!ended && !machine_.world().failed) {
                machine_.check_races();
            }
            if (machine_.world().failed) {
                failed();
                return;
            }
            ended = false;
            std::uint32_t mandatory = 0;
            const std::uint32_t enabled = machine_.enabled(&mandatory);
            std::uint32_t set = enabled;
            if (!options_.naive && options_.preemptions < 0 && mandatory != 0) {
                set = machine_.ample(enabled, mandatory);
            }
            expand(set, enabled, &choices);
            const bool over = mandatory == 0 && (enabled & bit(kRest)) == 0;
            if ((choices.size() > 1 || over || forgets(choices)) && !options_.naive) {
                const std::uint64_t key = machine_.state_key();
                if (!visited_.insert(key)) {
                    check_cycle(key);
                    if (machine_.world().failed) {
                        failed();
                        return;
                    }
                    ++result_.runs;
                    choices.clear();
                    ended = true;
                } else {
                    ++result_.states;
                    trail_.push_back({key, machine_.world().path_size});
                    if (result_.states % 4096 == 0 && stop()) {
                        return;
                    }
                }
            }
            if (!ended && (over ? !choices.empty() : choices.size() > 1)) {
                if (nodes_.size() == depth) {
                    nodes_.emplace_back();
                }
                Node& node = nodes_[depth++];
                machine_.save(node.before);
                node.left = choices;  // At the end only what need not happen is left.
                if (!over) {
                    node.left.pop_back();
                }
            }
            if (!ended && over) {
                if (!end_of_run()) {
                    return;
                }
                ended = true;
            }
            if (ended) {
                // Back to where something is left to be tried.
                while (depth != 0 && nodes_[depth - 1].left.empty()) {
                    --depth;
                }
                if (depth == 0) {
                    return;
                }
                Node& node = nodes_[depth - 1];
                const Transition next = node.left.back();
                node.left.pop_back();
                machine_.restore(node.before);
                while (!trail_.empty() && trail_.back().path_size > machine_.world().path_size) {
                    trail_.pop_back();
                }
                ended = false;
                if (node.left.empty()) {
                    --depth;
                }
                std::uint32_t must = 0;
                perform(next, options_.preemptions >= 0 ? machine_.enabled(&must) : 0);
                continue;
            }
            perform(choices.back(), enabled);
        }
    }

    /// A run that has come back to a state of its own by steps of one actor alone: it waits for the
    /// others, who stand still.
    void check_cycle(std::uint64_t key) {
        const std::uint32_t now = machine_.world().path_size;
        for (std::size_t at = trail_.size(); at-- > 0 && trail_[at].path_size < now;) {
            const Who who = machine_.path[trail_[at].path_size].who;
            bool alone = who < kActorsMax;
            for (std::uint32_t step = trail_[at].path_size; step < now && alone; ++step) {
                alone = machine_.path[step].who == who;
            }
            if (!alone) {
                return;
            }
            if (trail_[at].key == key) {
                const bool thread = machine_.plans()[who].role == Role::thread;
                machine_.fail(thread ? "end" : "nmi-wait",
                              machine_.plans()[who].name +
                                  " goes round in a circle while the others stand still");
                return;
            }
        }
    }

    [[nodiscard]] bool forgets(const std::vector<Transition>& choices) const {
        for (const Transition& one : choices) {
            if (one.who < kActorsMax &&
                machine_.world().actors[one.who].request.kind == Kind::forget) {
                return true;
            }
        }
        return false;
    }

    bool stop() {
        if (out_of_time()) {
            result_.bound = "time: " + std::to_string(options_.budget_seconds) + " s";
        } else if (visited_.size() > options_.states_max) {
            result_.bound = "states: " + std::to_string(options_.states_max);
        }
        return !result_.bound.empty();
    }

    /// False: the search is over.
    bool end_of_run() {
        ++result_.runs;
        if (options_.finals) {
            result_.finals.insert(machine_.world().memory_hash ^ machine_.world().notes_hash);
        }
        if (result_.runs % kReplayEvery == 1) {
            check_determinism();
        }
        if (!machine_.world().failed) {
            check_end(true);
        }
        if (machine_.world().failed) {
            failed();
            return false;
        }
        if (options_.naive && result_.runs % 4096 == 0) {
            return !stop();
        }
        return true;
    }

    void one_random_run(std::mt19937_64& random, bool priorities) {
        machine_.restart();
        std::array<std::uint64_t, 32> priority{};
        for (auto& one : priority) {
            one = random() | 1;
        }
        std::array<std::uint32_t, 5> changes{};
        for (auto& one : changes) {
            one = static_cast<std::uint32_t>(random() % 400);
        }
        std::vector<Transition> choices;
        for (std::uint32_t step = 0; !machine_.world().failed; ++step) {
            machine_.check_races();
            std::uint32_t mandatory = 0;
            std::uint32_t enabled = machine_.enabled(&mandatory);
            if (mandatory == 0 && (enabled & bit(kRest)) == 0 &&
                (enabled == 0 || random() % 2 == 0)) {
                check_end(true);
                return;
            }
            // Deaths are rare, or nothing else would happen.
            const std::uint32_t kills = enabled & ~(bit(kKill) - 1) & ~bit(kRest);
            if (kills != 0 && kills != enabled && random() % 32 != 0) {
                enabled &= ~kills;
            }
            unsigned who = 0;
            if (priorities) {
                std::uint64_t best = 0;
                for (unsigned one = 0; one < 32; ++one) {
                    if ((enabled & bit(one)) != 0 && priority[one] > best) {
                        best = priority[one];
                        who = one;
                    }
                }
                if (std::find(changes.begin(), changes.end(), step) != changes.end()) {
                    priority[who] = 1 + random() % 1000;
                }
            } else {
                auto pick = random() % static_cast<unsigned>(std::popcount(enabled));
                std::uint32_t rest = enabled;
                while (pick-- > 0) {
                    rest &= rest - 1;
                }
                who = static_cast<unsigned>(std::countr_zero(rest));
            }
            const unsigned variants = machine_.variants(static_cast<Who>(who));
            perform({static_cast<Who>(who), static_cast<std::uint8_t>(random() % variants)}, 0);
        }
    }

    void scout() {
        std::mt19937_64 random(1);
        for (unsigned run = 0; run < kScoutRuns && !result_.failed; ++run) {
            one_random_run(random, run % 2 != 0);
            if (machine_.world().failed) {
                failed();
            }
        }
    }

    void random_runs() {
        result_.bound = "random, seed " + std::to_string(options_.seed);
        machine_.begin_pass();
        std::mt19937_64 random(options_.seed);
        for (; result_.runs < options_.runs && !out_of_time();) {
            if (machine_.assumptions_broken) {
                machine_.begin_pass();
            }
            ++result_.runs;
            one_random_run(random, result_.runs % 2 != 0);
            if (machine_.world().failed) {
                failed();
            }
            if (result_.failed) {
                return;
            }
        }
    }

    const Scenario& scenario_;
    Options options_;
    Laid laid_;
    Machine& machine_;
    std::clock_t begin_;
    Result result_;
    Visited visited_;
    std::vector<Node> nodes_;
    struct Mark {
        std::uint64_t key;
        std::uint32_t path_size;
    };
    std::vector<Mark> trail_;  ///< States of the run under way.
};

}  // namespace

Result search(const Scenario& scenario, const Options& options) {
    return Searcher(scenario, options).run();
}

}  // namespace explore
