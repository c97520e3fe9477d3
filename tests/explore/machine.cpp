// SPDX-License-Identifier: Apache-2.0
//
// The machine itself: what scenarios lay out, and the start of passes and runs.
#include <sys/mman.h>

#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "sync/arena.hpp"
#include "tests/explore/detail.hpp"
#include "tests/explore/fiber.hpp"
#include "tests/explore/heap.hpp"
#include "tests/explore/machine.hpp"

namespace explore {

namespace {

using taskwork::sync::Arena;
using taskwork::sync::kArenaBase;

}  // namespace

const char* name_of(Model model) {
    switch (model) {
    case Model::sc:
        return "sc";
    case Model::tso:
        return "tso";
    default:
        return "ra";
    }
}

Machine& Machine::get() {
    static Machine& instance = *new Machine;
    return instance;
}

Machine::Machine() {
    statics_ = new (std::aligned_alloc(64, (sizeof(Statics) + 63) / 64 * 64)) Statics;
    static_places_.resize(sizeof(Statics));
    heap_places_.resize(HeapOf::kBytes + 256);
    void* stacks = ::mmap(nullptr, (kActorsMax + 1) * kStackBytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) {
        std::abort();
    }
    stacks_ = static_cast<std::byte*>(stacks);
}

void Machine::reset() {
    world_ = World{};
    new (statics_) Statics;
    plans_.clear();
    thread_count_ = 0;
    process_count_ = 0;
    may_die_ = {};
    daemon_ = {};
    nesting_ = 1;
    notify_failures_ = 0;
    membarrier_ = true;
    places_.assign(static_cast<unsigned>(Thing::count) * kThings, Place{});
    arena_places_.clear();
    static_places_.assign(static_places_.size(), kNowhere);
    heap_places_.assign(heap_places_.size(), kNowhere);
    lines_.clear();
    line_known_.clear();
    watched_.clear();
    section_places_ = {};
    names_.clear();
    words_.clear();
    HeapOf::reset();
    begun_ = false;
    base_valid_ = false;
    identity_ = 0;
    current_ = -1;
}

unsigned Machine::add_process(bool may_die) {
    may_die_[process_count_] = may_die;
    return process_count_++;
}

unsigned Machine::add_thread(unsigned process, std::string name, std::function<void()> body,
                             bool daemon) {
    const HeapOf own(false);
    const unsigned thread = thread_count_++;
    world_.threads[thread].process = static_cast<std::uint8_t>(process);
    world_.threads[thread].finished = false;
    daemon_[thread] = daemon;
    plans_.push_back(
        {std::move(name), std::move(body), Role::thread, static_cast<std::uint8_t>(thread)});
    return thread;
}

unsigned Machine::add_handler(unsigned thread, Role role, std::string name,
                              std::function<void()> body) {
    const HeapOf own(false);
    plans_.push_back({std::move(name), std::move(body), role, static_cast<std::uint8_t>(thread)});
    return static_cast<unsigned>(plans_.size() - 1);
}

void Machine::add_line(std::uintptr_t address) {
    const HeapOf own(false);
    const std::size_t line = (address - kArenaBase) / kLine;
    if (line >= line_known_.size()) {
        line_known_.resize(line + 1);
    }
    if (!line_known_[line]) {
        line_known_[line] = true;
        lines_.push_back(kArenaBase + line * kLine);
    }
}

void Machine::keep(const void* memory, std::size_t size) {
    const auto begin = reinterpret_cast<std::uintptr_t>(memory);
    for (std::uintptr_t at = begin / kLine * kLine; at < begin + size; at += kLine) {
        add_line(at);
    }
}

void Machine::watch(const void* object, const void* fields, std::size_t size,
                    bool (*edge)(std::uint64_t, std::uint64_t)) {
    const HeapOf own(false);
    keep(object, 8);
    keep(fields, size);
    if (watched_.size() == kObjectsMax) {
        fail("explorer", "too many watched objects");
        std::abort();
    }
    watched_.push_back({reinterpret_cast<std::uintptr_t>(object),
                        reinterpret_cast<std::uintptr_t>(fields), size, edge,
                        static_cast<PlaceId>(places_.size())});
    places_.push_back(Place{});  // Its life.
}

void Machine::words(const void* memory, std::size_t size) {
    const HeapOf own(false);
    words_.emplace_back(reinterpret_cast<std::uintptr_t>(memory), size);
}

void Machine::watch_section(unsigned thread, const void* word) {
    section_places_[thread] = place_of(word, 8);
}

void Machine::name(const void* memory, std::size_t size, const std::string& text) {
    const HeapOf own(false);
    names_.push_back({reinterpret_cast<std::uintptr_t>(memory), size, std::string(text)});
}

void Machine::begin(Model model) {
    model_ = model;
    const std::size_t used = Arena::header().committed.load(std::memory_order_relaxed);
    base_notes_ = world_.notes;
    base_heap_.assign(HeapOf::begin(), HeapOf::begin() + HeapOf::size());
    base_arena_.resize(used);
    std::memcpy(base_arena_.data(), reinterpret_cast<void*>(kArenaBase), used);
    base_statics_.resize(sizeof(Statics));
    std::memcpy(base_statics_.data(), static_cast<void*>(statics_), sizeof(Statics));
    begun_ = true;
}

void Machine::begin_pass() {
    base_valid_ = false;
    assumptions_broken = false;
    std::int16_t messages = 0;
    std::int16_t guards = kObjectsMax;
    for (Place& place : places_) {
        const unsigned all = place.threads_reading | place.threads_writing;
        place.shared = std::popcount(all) > 1 && place.threads_writing != 0 && place.address != 0;
    }
    for (Place& place : places_) {
        place.shared = place.shared || (place.pair != kNowhere && places_[place.pair].shared);
        place.messages = place.shared ? messages++ : static_cast<std::int16_t>(-1);
        place.guard = place.shared && place.plain ? guards++ : static_cast<std::int16_t>(-1);
        place.quiet_all = 0;
        place.quiet_readers = 0;
    }
}

void Machine::restart() {
    if (base_valid_) {
        restore(base_);
        return;
    }
    for (const std::uintptr_t line : lines_) {
        std::memcpy(reinterpret_cast<void*>(line), base_arena_.data() + (line - kArenaBase), kLine);
    }
    std::memcpy(static_cast<void*>(statics_), base_statics_.data(), sizeof(Statics));
    std::memcpy(HeapOf::begin(), base_heap_.data(), base_heap_.size());
    World fresh;
    fresh.notes = base_notes_;
    fresh.notify_failures_left = notify_failures_;
    fresh.preemptions_left = world_.preemptions_left;
    for (unsigned index = 0; index < plans_.size(); ++index) {
        Actor& actor = fresh.actors[index];
        actor.role = plans_[index].role;
        actor.thread = plans_[index].thread;
        actor.process = world_.threads[actor.thread].process;
        if (actor.role == Role::thread) {
            Thread& thread = fresh.threads[actor.thread];
            thread.finished = false;
            thread.process = actor.process;
            thread.depth = 1;
            thread.active[0] = static_cast<std::uint8_t>(index);
        }
    }
    world_ = fresh;
    for (std::size_t index = 0; index < watched_.size(); ++index) {
        const auto word = read_raw(reinterpret_cast<void*>(watched_[index].address), 8);
        world_.objects[index].free = (word & 0xff) == 0;
    }
    ra_reset();
    update_possible();
    events.clear();
    for (unsigned index = 0; index < thread_count_; ++index) {
        const unsigned process = world_.threads[index].process;
        if (may_die_[process]) {
            note_access(thing(Thing::life, index), kKill + process, true);
            note_access(thing(Thing::signal, index), kKill + process, true);
            note_access(thing(Thing::process, process), kKill + process, true);
        }
    }
    for (unsigned index = 0; index < plans_.size(); ++index) {
        if (plans_[index].role == Role::thread) {
            start(index);
            // Up to its first step it does nothing that another could see.
        }
    }
    save(base_);
    base_valid_ = !recording;
}

unsigned Machine::thread_now() const {
    return current_ >= 0 ? world_.actors[static_cast<unsigned>(current_)].thread
                         : static_cast<unsigned>(identity_);
}

void Machine::comment(const std::string& text) {
    const HeapOf own(false);
    if (recording && current_ >= 0 && !events.empty()) {
        std::string& note = events.back().note;
        note += note.empty() ? text : "; " + text;
    }
}

void Machine::note_add(unsigned index, std::uint64_t amount) {
    std::uint64_t& value = world_.notes[index];
    world_.notes_hash ^= hash2(index + 500, value);
    value += amount;
    world_.notes_hash ^= hash2(index + 500, value);
}

void Machine::fail(const char* oracle, const std::string& text) {
    const HeapOf own(false);
    if (!world_.failed) {
        world_.failed = true;
        // Copies: the text may be in the heap of explored code.
        failure_.oracle.assign(oracle);
        failure_.text.assign(text);
    }
}

void fail(const char* oracle, const std::string& text) {
    Machine& machine = Machine::get();
    machine.fail(oracle, text);
    if (machine.running_fiber()) {
        machine.abandon();
    }
}

void contended_lock() noexcept {
    fail("explorer", "two actors want one lock of the host");
    std::abort();
}

std::uint64_t step(Kind kind, const void* address, unsigned size, std::memory_order order,
                   std::uint64_t operand, std::uint64_t expected) noexcept {
    return Machine::get().step(kind, address, size, order, operand, expected);
}

std::uint64_t step_pair(const void* address, std::uint64_t operand, std::uint64_t expected,
                        HighWord& high) noexcept {
    return Machine::get().step(Kind::compare_exchange_pair, address, 8, std::memory_order_seq_cst,
                               operand, expected, &high);
}

}  // namespace explore
