// SPDX-License-Identifier: Apache-2.0
//
// LPM tries: lookups beside insertions and deletions of the prefixes that fit (LT.1 in
// map/lpm_trie.hpp). What the hash below does alone is hash.cpp's.
#include "map/lpm_trie.hpp"

#include <linux/bpf.h>

#include <array>
#include <cstdlib>
#include <memory>

#include "map/map_ops.hpp"
#include "task/domain.hpp"
#include "tests/explore/scenarios/maps.hpp"

namespace explore {

namespace {

namespace map = taskwork::map;
namespace sync = taskwork::sync;
namespace task = taskwork::task;
using taskwork::no_error;
using taskwork::maps::HashModel;

constexpr auto relaxed = std::memory_order_relaxed;
/// As in maps.cpp: few spares.
constexpr std::uint32_t kValueRoom = std::uint32_t{512} << 10;
/// Room for an insertion that another one of the same prefix interrupts (HT.2).
constexpr std::uint32_t kEntries = 3;

/// kA is longer than kB, and kB than kC; all fit what is looked up.
struct Prefix {
    std::uint32_t length;
    std::array<std::uint8_t, 4> data;
};
constexpr Prefix kPrefixes[] = {{24, {10, 0, 0, 0}}, {16, {10, 0, 0, 0}}, {8, {10, 0, 0, 0}}};
constexpr Prefix kAddress{32, {10, 0, 0, 1}};

/// A lookup is of the address, and finds the longest.
class TrieModel : public HashModel {
public:
    using HashModel::HashModel;

    template <class Visit>
    bool next(const State& state, Operation operation, Visit visit) const {
        while (operation.kind == Do::lookup && operation.key + 1U < std::size(kPrefixes) &&
               state[operation.key] == 0) {
            ++operation.key;
        }
        return HashModel::next(state, operation, visit);
    }
};

class TestedTrie {
public:
    TestedTrie(Setup& setup, std::shared_ptr<Core> core, std::vector<Operation> first)
        : core_(std::move(core)), history_(setup), first_(std::move(first)) {
        Setup::machine().as_thread(0, [this] {
            if (map::MapTable::create() != no_error) {
                std::abort();
            }
            map_ = static_cast<map::Map*>(map::MapTable::get().maps.claim(0, map::kMapCreating));
            map_->type = BPF_MAP_TYPE_LPM_TRIE;
            map_->key_size = sizeof(Prefix);
            map_->value_size = kValueRoom;
            map_->max_entries = kEntries;
            map_->flags = BPF_F_ZERO_SEED;
            map_->fields = {};
            if (map::ops_of(map_->type)->init(*map_) != no_error) {
                std::abort();
            }
            map_->value_size = sizeof(std::uint64_t);
            map_->word.store(sync::Pool::load(map_).with_state(map::kMapLive).bits, relaxed);
            for (Operation& one : first_) {
                apply(one);
                if (one.result != no_error) {
                    std::abort();
                }
            }
        });
        Setup::machine().name(map_->impl, map_->impl_bytes, "trie");
    }

    void thread(const std::string& name, const std::vector<Operation>& operations) {
        const unsigned thread = core_->thread(0, name, body(operations));
        Setup::machine().watch_section(
            thread, &core_->task(thread).readers[static_cast<unsigned>(sync::Flavour::sleepable)]);
    }

    void check_end() {
        for (int round = 0; round < 3; ++round) {
            task::run_round(true);
        }
        const task::ReadSection keep(*task::current(), sync::Flavour::sleepable);
        std::vector<Operation> found{{Do::lookup}};
        apply(found.back());
        HashModel::State state{};
        for (const Operation& one : first_) {
            state[one.key] = one.value;
        }
        history_.check(TrieModel(kEntries), state, found);
    }

private:
    std::function<void()> body(const std::vector<Operation>& operations) {
        std::vector<unsigned> ids;
        for (const Operation& one : operations) {
            ids.push_back(history_.plan(one));
        }
        return [this, ids] {
            for (const unsigned id : ids) {
                Operation operation = history_.planned(id);
                const task::ReadSection keep(*task::current(), sync::Flavour::sleepable);
                history_.begin(id);
                apply(operation);
                history_.end(id, operation);
            }
        };
    }
    void apply(Operation& operation) {
        const Prefix& key = kPrefixes[operation.key];
        if (operation.kind == Do::lookup) {
            auto* const place = static_cast<Variable*>(map::lookup(*map_, &kAddress));
            operation.result = place == nullptr ? std::errc::no_such_file_or_directory : no_error;
            operation.value = place == nullptr ? 0 : place->load(relaxed);
        } else if (operation.kind == Do::remove) {
            operation.result = map::remove(*map_, &key);
        } else {
            operation.result = map::update(*map_, &key, &operation.value,
                                           operation.kind == Do::insert ? BPF_NOEXIST : BPF_ANY);
        }
    }

    std::shared_ptr<Core> core_;
    MapHistory history_;
    std::vector<Operation> first_;  ///< Done by set-up.
    map::Map* map_ = nullptr;
};

/// kC is there; each does these one after the other.
void lay_out(Setup& setup, const std::vector<std::vector<Operation>>& threads) {
    auto tested = std::make_shared<TestedTrie>(setup, make_core(setup, {.contexts = 1, .tasks = 4}),
                                               std::vector<Operation>{{Do::update, kC, 9}});
    setup.at_end([tested] { tested->check_end(); });
    for (const auto& operations : threads) {
        tested->thread("thread" + std::to_string(&operations - threads.data() + 1), operations);
    }
}

const Registered kComesAndGoes{
    {.name = "lpm.comes_and_goes",
     .about =
         "lookup, insertion of a longer prefix and then deletion of the one that was there (LT.1)",
     .lay_out =
         [](Setup& setup) {
             lay_out(setup, {{{Do::lookup}}, {{Do::insert, kA, 1}, {Do::remove, kC}}});
         },
     .models = kAllModels}};
/// What the insertion has not counted yet, who finds it has to.
const Registered kFound{
    {.name = "lpm.found",
     .about = "lookup, insertion, another lookup and then deletion of what was there (LT.1)",
     .lay_out = [](Setup& setup) {
         lay_out(setup, {{{Do::lookup}}, {{Do::insert, kA, 1}}, {{Do::lookup}, {Do::remove, kC}}});
     }}};
/// Whoever is refused knows of it.
const Registered kRefused{
    {.name = "lpm.refused",
     .about = "lookup, 2 insertions of one prefix, one then deletes what was there (LT.1)",
     .lay_out =
         [](Setup& setup) {
             lay_out(
                 setup,
                 {{{Do::lookup}}, {{Do::insert, kA, 1}}, {{Do::insert, kA, 2}, {Do::remove, kC}}});
         },
     .large = true}};

}  // namespace

}  // namespace explore
