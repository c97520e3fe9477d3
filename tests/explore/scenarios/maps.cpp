// SPDX-License-Identifier: Apache-2.0
#include "tests/explore/scenarios/maps.hpp"

#include <linux/bpf.h>

#include <bit>
#include <cstdlib>
#include <utility>

#include "map/hash_table.hpp"
#include "map/map_ops.hpp"
#include "map/value.hpp"
#include "task/domain.hpp"
#include "tests/explore/heap.hpp"

namespace explore {

namespace {

namespace map = taskwork::map;
namespace sync = taskwork::sync;
namespace task = taskwork::task;
using sync::Flavour;
using taskwork::no_error;

constexpr auto relaxed = std::memory_order_relaxed;

/// A table has as few spares as it can if its elements are large; of the value only the beginning
/// is used.
constexpr std::size_t kValueRoom = std::size_t{512} << 10;
constexpr std::size_t kValueBytes = 16;
/// Keys of the checks, apart from those of the scenario.
constexpr std::uint64_t kOtherKeys = std::uint64_t{1} << 40;

/// A value says whose it is, and whether it is whole.
struct Value {
    std::uint64_t words[2];
};
Value value_of(const Operation& operation) {
    const std::uint64_t word = std::uint64_t{operation.key} << 32 | operation.value;
    return {{word, ~word}};
}
void check_value(const Value& value, Operation& operation) {
    check(value.words[1] == ~value.words[0] && value.words[0] >> 32 == operation.key, "torn",
          "a value is that of two operations, or of another key");
    operation.value = value.words[0] & UINT32_MAX;
}

/// By a reader that holds the value, which nobody may change meanwhile.
void read_held(void* place, Operation& operation) {
    auto* const words = static_cast<Variable*>(place);
    Value value{};
    for (unsigned index = 0; index < 2; ++index) {
        value.words[index] = words[index].load(relaxed);
    }
    check_value(value, operation);
    check(words[0].load(relaxed) == value.words[0], "reuse",
          "a value changes under a reader that holds it");
}

constexpr std::uint64_t flags_of(Do kind) {
    return kind == Do::insert                             ? BPF_NOEXIST
           : kind == Do::replace || kind == Do::push_over ? BPF_EXIST
                                                          : BPF_ANY;
}

bool is_element_edge(std::uint64_t from, std::uint64_t to) {
    const sync::Word before{from};
    const sync::Word after{to};
    const auto is = [&](std::uint8_t one, std::uint8_t other) {
        return before.state() == one && after.state() == other;
    };
    const bool is_claim = is(sync::kStateFree, map::kElementBuilding) ||
                          is(sync::kStateRetired, map::kElementBuilding);
    return is_claim
               ? after.round() == before.round() + 1
               : after.round() == before.round() && (is(map::kElementBuilding, map::kElementLive) ||
                                                     is(map::kElementBuilding, sync::kStateFree) ||
                                                     is(map::kElementLive, sync::kStateRetired));
}

void give_up(const char* why) {
    std::fprintf(stderr, "explore: %s\n", why);
    std::abort();
}

}  // namespace

TestedMap::TestedMap(Setup& setup, std::shared_ptr<Core> core, MapLimits limits,
                     std::vector<Operation> first)
    : core_(std::move(core)), limits_(limits), first_(std::move(first)), history_(setup) {
    Setup::machine().as_thread(0, [this] {
        if (map::MapTable::create() != no_error) {
            give_up("no memory for a table of maps");
        }
        map_ = static_cast<map::Map*>(map::MapTable::get().maps.claim(0, map::kMapCreating));
        map_->type = limits_.type;
        map_->key_size = is_sequence() ? 0 : 8;
        map_->value_size = kValueBytes;
        map_->max_entries = limits_.entries;
        map_->flags = is_sequence() ? 0 : BPF_F_ZERO_SEED;
        map_->fields = {};
        is_sequence() ? lay_out_sequence() : lay_out_hash();
        map_->word.store(sync::Pool::load(map_).with_state(map::kMapLive).bits, relaxed);
        put_first();
    });
    Setup::machine().name(map_->impl, map_->impl_bytes, "map");
}

bool TestedMap::is_sequence() const {
    return limits_.type == BPF_MAP_TYPE_QUEUE || limits_.type == BPF_MAP_TYPE_STACK;
}

void TestedMap::lay_out_hash() {
    Machine& machine = Setup::machine();
    const bool is_lru = limits_.type == BPF_MAP_TYPE_LRU_HASH;
    if (map::HashTable::create(*map_, kValueRoom, is_lru ? 1 : 0) != no_error) {
        give_up("no memory for a map");
    }
    auto& table = map::HashTable::of(*map_);
    auto* const memory = static_cast<std::byte*>(map_->impl);
    for (std::size_t at = 0; at < map_->impl_bytes; at += 8) {
        map::Element* const found = table.element_of(reinterpret_cast<std::uintptr_t>(memory + at));
        if (found == nullptr || (!objects_.empty() && objects_.back() == found)) {
            continue;
        }
        const std::string name = "element" + std::to_string(objects_.size());
        objects_.push_back(found);
        machine.watch(found, found, sizeof(*found) + 8 + kValueBytes, is_element_edge);
        machine.name(found, sizeof(*found) + 8 + kValueBytes, name);
        machine.name(&found->word, 8, name + ".word");
        machine.name(&found->next, 8, name + ".next");
        machine.name(&found->ticket, 8, name + ".ticket");
        machine.name(&found->hash, 8, name + ".hash");
        machine.name(table.key_of(found), 8, name + ".key");
        machine.name(table.value_of(found), 8, name + ".value");
    }
    if (objects_.size() != limits_.entries + kSpares) {
        give_up("a hash has another number of spares than scenarios think");
    }
    // A, B and C in one bucket, D in another if there is one.
    const std::uint32_t mask = std::bit_ceil(limits_.entries) - 1;
    std::uint64_t key = 1;
    for (std::uint8_t index = 0; index < keys_.size(); ++index) {
        while ((map::hash_key(&key, 8, 0) & mask) != (index == kD ? mask : 0)) {
            ++key;
        }
        keys_[index] = key++;
    }
}

void TestedMap::lay_out_sequence() {
    if (map::ops_of(limits_.type)->init(*map_) != no_error) {
        give_up("no memory for a map");
    }
    // The pool of items is what lies last in the map's memory (put_first() sees if it is not).
    const std::size_t stride = 8 + kValueBytes;
    const std::uint32_t count = limits_.entries + 64;
    auto* const end = static_cast<std::byte*>(map_->impl) + map_->impl_bytes;
    for (std::uint32_t index = 0; index < count; ++index) {
        objects_.push_back(end - (count - index) * stride);
        Setup::machine().name(objects_.back(), stride, "item" + std::to_string(index));
    }
}

void TestedMap::put_first() {
    for (Operation& one : first_) {
        apply(one);
        if (one.result != no_error) {
            give_up("what a scenario begins with cannot be done");
        }
    }
    if (is_sequence() && items_in_use() != map::usage(*map_).elements) {
        give_up("the items of a queue lie elsewhere than scenarios think");
    }
    // Replacements use spares up: the last key's value is replaced by itself.
    for (std::uint32_t left = kSpares; left > limits_.spares; --left) {
        apply(first_.back());
    }
}

unsigned TestedMap::thread(unsigned process, const std::string& name,
                           std::vector<Operation> operations) {
    const unsigned thread = core_->thread(process, name, body(operations));
    // Elements are kept by sleepable sections.
    Setup::machine().watch_section(
        thread, &core_->task(thread).readers[static_cast<unsigned>(Flavour::sleepable)]);
    return thread;
}

void TestedMap::event(unsigned thread, const std::string& name, std::vector<Operation> operations) {
    core_->event(thread, name, body(operations));
}

std::function<void()> TestedMap::body(const std::vector<Operation>& operations) {
    std::vector<unsigned> ids;
    for (const Operation& one : operations) {
        ids.push_back(history_.plan(one));
    }
    return [this, ids] {
        for (const unsigned id : ids) {
            run(id);
        }
    };
}

void TestedMap::run(unsigned id) {
    Operation operation = history_.planned(id);
    const task::ReadSection keep(*task::current(), Flavour::sleepable);
    history_.begin(id);
    apply(operation);
    history_.end(id, operation);
}

void TestedMap::apply(Operation& operation) {
    const std::uint64_t key = keys_[operation.key];
    Value value = value_of(operation);
    switch (operation.kind) {
    case Do::update:
    case Do::insert:
    case Do::replace:
        operation.result = map::update(*map_, &key, &value, flags_of(operation.kind));
        return;
    case Do::remove:
        operation.result = map::remove(*map_, &key);
        return;
    case Do::lookup: {
        void* const place = map::lookup(*map_, &key);
        operation.result = place == nullptr ? std::errc::no_such_file_or_directory : no_error;
        if (place != nullptr) {
            read_held(place, operation);
        }
        return;
    }
    case Do::take:
        operation.result = map::lookup_and_remove(*map_, &key, &value, 0);
        break;
    case Do::push:
    case Do::push_over:
        operation.result = map::push(*map_, &value, flags_of(operation.kind));
        return;
    case Do::pop:
        operation.result = map::pop(*map_, &value);
        break;
    case Do::peek:
        operation.result = map::peek(*map_, &value);
        break;
    default:
        give_up("no operation of such a map");
    }
    if (operation.result == no_error) {
        check_value(value, operation);
    }
}

// What is checked when all is over.

void TestedMap::check_end() {
    // After the core's own checks: whoever died has been swept.
    for (int round = 0; round < 3; ++round) {
        task::run_round(true);
    }
    const task::ReadSection keep(*task::current(), Flavour::sleepable);
    is_sequence() ? check_sequence() : check_hash();
}

void TestedMap::check_sequence() {
    const auto check_items = [this] {
        check(items_in_use() == map::usage(*map_).elements, "leak",
              "other items are in use than there are values");
    };
    check_items();
    std::vector<Operation> found;
    do {
        found.push_back({Do::pop});
        apply(found.back());
    } while (found.back().result == no_error);
    check_items();
    taskwork::maps::SequenceModel::State state;
    for (const Operation& one : first_) {
        state.push_back(one.value);
    }
    history_.check(
        taskwork::maps::SequenceModel(limits_.entries, limits_.type == BPF_MAP_TYPE_STACK), state,
        found);
}

void TestedMap::check_hash() {
    Content content{};
    std::vector<Operation> found;
    for (std::uint8_t key = 0; key < content.size(); ++key) {
        found.push_back({Do::lookup, key});
        apply(found.back());
        content[key] = found.back().result == no_error ? found.back().value : 0;
    }
    Content state{};
    for (const Operation& one : first_) {
        state[one.key] = one.value;
    }
    const bool evicts = limits_.type == BPF_MAP_TYPE_LRU_HASH;
    history_.check(taskwork::maps::HashModel(limits_.entries, evicts), state, found,
                   limits_.spares < kSpares, evicts);
    for (const auto& one : checks_) {
        one(content);
    }
    check_elements(content);
    check_room();
}

void TestedMap::check_elements(const Content& content) {
    std::uint64_t count = 0;
    for (const std::uint64_t value : content) {
        count += value != 0 ? 1U : 0U;
    }
    const map::Usage usage = map::usage(*map_);
    check(usage.elements == count, "leak",
          std::to_string(count) + " elements are found, " + std::to_string(usage.elements) +
              " are counted");
    check(usage.waiting == 0, "leak", "an element waits for ever");
    for (const void* object : objects_) {
        const std::uint8_t state = sync::Pool::load(object).state();
        check(state == map::kElementLive || state == sync::kStateFree ||
                  state == sync::kStateRetired,
              "leak", "an element is neither in the map nor free");
        count -= state == map::kElementLive ? 1 : 0;
    }
    check(count == 0, "leak", "live elements are not those in the map");
}

/// Nothing is lost: there is room for as many as there may be, and each spare can be used.
void TestedMap::check_room() {
    const auto put = [this](std::uint64_t key) {
        const Value value{};
        return map::update(*map_, &key, &value, BPF_ANY);
    };
    const bool evicts = limits_.type == BPF_MAP_TYPE_LRU_HASH;
    std::uint64_t room = limits_.entries - (evicts ? 0 : map::usage(*map_).elements);
    for (std::uint64_t key = kOtherKeys; room != 0; --room, ++key) {
        check(put(key) == no_error, "leak", "there is room, and an insertion is refused");
    }
    check(map::usage(*map_).elements == limits_.entries, "leak", "a full map is not full");
    check(evicts || put(0) == std::errc::argument_list_too_long, "leak",
          "there are more elements than there may be");
    std::uint64_t key = 0;
    static_cast<void>(map::next_key(*map_, nullptr, &key));
    for (std::uint64_t left = kSpares - map::usage(*map_).waiting; left != 0; --left) {
        check(put(key) == no_error, "leak", "a spare is lost");
    }
    check(put(key) == std::errc::not_enough_memory, "leak", "there is a spare too many");
}

std::uint64_t TestedMap::items_in_use() const {
    std::uint64_t used = 0;
    for (const void* object : objects_) {
        used += sync::Pool::load(object).state() != sync::kStateFree ? 1U : 0U;
    }
    return used;
}

TestedMap& lay_out(Setup& setup, const Play& play) {
    auto tested = std::make_shared<TestedMap>(setup, make_core(setup, {.contexts = 1, .tasks = 4}),
                                              play.map, play.first);
    setup.at_end([tested] { tested->check_end(); });
    Core& core = tested->core();
    const unsigned mortal = play.first_dies ? core.process(true) : 0;
    for (std::size_t index = 0; index < play.threads.size(); ++index) {
        const unsigned thread = tested->thread(
            index == 0 ? mortal : 0, "thread" + std::to_string(index + 1), play.threads[index]);
        if (index == 0 && !play.nmi.empty()) {
            tested->event(thread, "nmi", play.nmi);
        }
    }
    core.worker_rounds(play.worker_rounds);
    return *tested;
}

}  // namespace explore
