// SPDX-License-Identifier: Apache-2.0
#include "tests/explore/machine.hpp"

#include <sys/mman.h>

#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "sync/arena.hpp"
#include "tests/explore/fiber.hpp"
#include "tests/explore/heap.hpp"

namespace explore {

namespace {

using taskwork::sync::Arena;
using taskwork::sync::kArenaBase;

constexpr std::size_t kLine = 64;
/// More own steps than any thread or handler of ours takes, unless it waits for somebody.
constexpr std::uint32_t kThreadStepsMax = 20'000;
constexpr std::uint32_t kHandlerStepsMax = 2'000;
constexpr unsigned kThings = 8;

constexpr std::uint64_t mix(std::uint64_t x) {
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ULL;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ULL;
    x ^= x >> 32;
    return x;
}

constexpr std::uint64_t hash2(std::uint64_t a, std::uint64_t b) {
    return mix(a * 0x9e3779b97f4a7c15ULL + mix(b + 0x632be59bd9b4e019ULL));
}

constexpr std::uint32_t bit(unsigned index) { return 1U << index; }

constexpr bool is_memory(Kind kind) { return kind >= Kind::load && kind <= Kind::plain_store; }
constexpr bool is_plain(Kind kind) { return kind == Kind::plain_load || kind == Kind::plain_store; }

std::uint64_t read_raw(const void* address, unsigned size) {
    std::uint64_t value = 0;
    std::memcpy(&value, address, size);
    return value;
}

void write_raw(void* address, unsigned size, std::uint64_t value) {
    std::memcpy(address, &value, size);
}

constexpr std::uint64_t mask_of(unsigned size) {
    return size >= 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * size)) - 1;
}

/// What an update leaves in memory.
std::uint64_t updated(Kind kind, std::uint64_t old, std::uint64_t operand) {
    switch (kind) {
    case Kind::add:
        return old + operand;
    case Kind::sub:
        return old - operand;
    case Kind::bit_or:
        return old | operand;
    case Kind::bit_and:
        return old & operand;
    default:
        return operand;
    }
}

void enter_fiber(unsigned actor) { Machine::get().fiber_main(actor); }

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
    void* stacks = ::mmap(nullptr, kActorsMax * kStackBytes, PROT_READ | PROT_WRITE,
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

void Machine::watch_section(unsigned thread, const void* word) {
    section_places_[thread] = place_of(word, 8);
}

void Machine::name(const void* memory, std::size_t size, const std::string& text) {
    const HeapOf own(false);
    names_.push_back({reinterpret_cast<std::uintptr_t>(memory), size, std::string(text)});
}

PlaceId Machine::thing(Thing kind, unsigned index) {
    return static_cast<unsigned>(kind) * kThings + index;
}

PlaceId Machine::place_of(const void* address, unsigned size) {
    const HeapOf own(false);
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    PlaceId* id = nullptr;
    const auto statics = reinterpret_cast<std::uintptr_t>(statics_);
    const auto heap = reinterpret_cast<std::uintptr_t>(HeapOf::begin());
    if (at - statics < sizeof(Statics)) {
        id = &static_places_[at - statics];
    } else if (at - heap < HeapOf::size()) {
        id = &heap_places_[at - heap];
    } else if (Arena::present() && at >= kArenaBase && at - kArenaBase < Arena::header().size) {
        const std::size_t index = at - kArenaBase;
        if (index >= arena_places_.size()) {
            arena_places_.resize(index + 4096);
        }
        id = &arena_places_[index];
    } else {
        fail("explorer", "a step touches memory that is not modelled");
        std::abort();
    }
    if (*id == kNowhere) {
        *id = static_cast<PlaceId>(places_.size());
        Place place;
        place.address = at;
        place.size = static_cast<std::uint8_t>(size);
        for (std::size_t index = 0; index < watched_.size(); ++index) {
            if (at == watched_[index].address ||
                at - watched_[index].fields < watched_[index].size) {
                place.object = static_cast<std::int16_t>(index);
                place.is_word = at == watched_[index].address;
            }
        }
        places_.push_back(place);
        if (at >= kArenaBase && at - kArenaBase < Arena::header().size) {
            add_line(at);
        }
    } else if (places_[*id].size != size) {
        fail("explorer", "one memory location is used in two sizes: " + place_name(*id));
    }
    return *id;
}

std::string Machine::place_name(PlaceId id) const {
    static const char* const things[] = {"", "life", "signal", "process", "order", "rest"};
    if (id < static_cast<unsigned>(Thing::count) * kThings) {
        return std::string(things[id / kThings]) + " " + std::to_string(id % kThings);
    }
    const Place& place = places_[id];
    const Name* best = nullptr;
    for (const Name& one : names_) {
        if (place.address - one.begin < one.size && (best == nullptr || one.size < best->size)) {
            best = &one;
        }
    }
    char text[64];
    if (best != nullptr) {
        if (best->size <= 8) {
            return best->text;
        }
        std::snprintf(text, sizeof(text), "+%#zx",
                      static_cast<std::size_t>(place.address - best->begin));
        return best->text + text;
    }
    const auto statics = reinterpret_cast<std::uintptr_t>(statics_);
    if (place.address - statics < sizeof(Statics)) {
        return "own state";
    }
    std::snprintf(text, sizeof(text), "arena+%#zx",
                  static_cast<std::size_t>(place.address - kArenaBase));
    return text;
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
    for (Place& place : places_) {
        const unsigned all = place.threads_reading | place.threads_writing;
        place.shared = std::popcount(all) > 1 && place.threads_writing != 0 && place.address != 0;
        place.messages = place.shared ? messages++ : static_cast<std::int16_t>(-1);
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

void Machine::save(Snapshot& to) const {
    const std::size_t heap = HeapOf::size();
    std::size_t size =
        sizeof(World) + sizeof(Statics) + sizeof(heap) + heap + lines_.size() * kLine + ra_bytes();
    for (unsigned index = 0; index < plans_.size(); ++index) {
        const Actor& actor = world_.actors[index];
        if (actor.status == Status::ready || actor.status == Status::blocked) {
            size += static_cast<std::size_t>(stacks_ + (index + 1) * kStackBytes -
                                             static_cast<std::byte*>(actor.stack_pointer));
        }
    }
    std::byte* at = to.prepare(size);
    const auto put = [&at](const void* from, std::size_t bytes) {
        std::memcpy(at, from, bytes);
        at += bytes;
    };
    put(&world_, sizeof(World));
    put(static_cast<void*>(statics_), sizeof(Statics));
    put(&heap, sizeof(heap));
    put(HeapOf::begin(), heap);
    for (unsigned index = 0; index < plans_.size(); ++index) {
        const Actor& actor = world_.actors[index];
        if (actor.status == Status::ready || actor.status == Status::blocked) {
            const auto* sp = static_cast<std::byte*>(actor.stack_pointer);
            put(sp, static_cast<std::size_t>(stacks_ + (index + 1) * kStackBytes - sp));
        }
    }
    at = ra_save(at);
    to.lines = lines_.size();
    for (const std::uintptr_t line : lines_) {
        put(reinterpret_cast<const void*>(line), kLine);
    }
}

void Machine::restore(const Snapshot& from) {
    const std::byte* at = from.data();
    const auto get = [&at](void* to, std::size_t bytes) {
        std::memcpy(to, at, bytes);
        at += bytes;
    };
    get(&world_, sizeof(World));
    get(static_cast<void*>(statics_), sizeof(Statics));
    std::size_t heap = 0;
    get(&heap, sizeof(heap));
    get(HeapOf::begin(), heap);
    for (unsigned index = 0; index < plans_.size(); ++index) {
        const Actor& actor = world_.actors[index];
        if (actor.status == Status::ready || actor.status == Status::blocked) {
            auto* sp = static_cast<std::byte*>(actor.stack_pointer);
            get(sp, static_cast<std::size_t>(stacks_ + (index + 1) * kStackBytes - sp));
        }
    }
    at = ra_restore(at);
    for (std::size_t index = 0; index < lines_.size(); ++index) {
        if (index < from.lines) {
            get(reinterpret_cast<void*>(lines_[index]), kLine);
        } else {  // Found since; nobody had touched it then.
            std::memcpy(reinterpret_cast<void*>(lines_[index]),
                        base_arena_.data() + (lines_[index] - kArenaBase), kLine);
        }
    }
}

std::uint64_t Machine::state_key() const {
    std::uint64_t key = world_.memory_hash ^ world_.notes_hash ^ world_.heap_hash;
    for (unsigned index = 0; index < plans_.size(); ++index) {
        const Actor& actor = world_.actors[index];
        key += hash2(index * 8U + static_cast<unsigned>(actor.status),
                     actor.history + (actor.status == Status::blocked ? actor.waits_on : 0));
        if (actor.status == Status::ready && actor.request.kind == Kind::resume) {
            key += hash2(index + 1000, actor.result);
        }
    }
    for (unsigned index = 0; index < thread_count_; ++index) {
        const Thread& thread = world_.threads[index];
        std::uint64_t part = thread.depth | (thread.signalled ? 256U : 0U);
        for (unsigned depth = 0; depth < thread.depth; ++depth) {
            part = part * 32 + thread.active[depth];
        }
        for (unsigned entry = 0; entry < thread.buffered; ++entry) {
            part = hash2(part + thread.buffer[entry].place, thread.buffer[entry].value);
        }
        key += hash2(part, index + 77);
    }
    for (unsigned index = 0; index < process_count_; ++index) {
        key += world_.dead[index] ? hash2(index, 999) : 0;
    }
    key += hash2(world_.preemptions_left * 64U + world_.notify_failures_left, world_.rests + 5);
    if (model_ == Model::ra) {
        key += ra_hash();
    }
    return key == 0 ? 1 : key;
}

std::string Machine::untracked() const {
    for (std::size_t line = 0; line * kLine < base_arena_.size(); ++line) {
        if ((line >= line_known_.size() || !line_known_[line]) &&
            std::memcmp(base_arena_.data() + line * kLine,
                        reinterpret_cast<const void*>(kArenaBase + line * kLine), kLine) != 0) {
            Name found{0, SIZE_MAX, "unnamed memory"};
            for (const Name& one : names_) {
                if (kArenaBase + line * kLine - one.begin < one.size && one.size < found.size) {
                    found = one;
                }
            }
            return "no snapshot holds what was written to " + found.text + "+" +
                   std::to_string(kArenaBase + line * kLine - found.begin);
        }
    }
    return "";
}

unsigned Machine::thread_now() const {
    return current_ >= 0 ? world_.actors[static_cast<unsigned>(current_)].thread
                         : static_cast<unsigned>(identity_);
}

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

void Machine::note_access(PlaceId id, unsigned agent, bool writes) {
    Place& place = places_[id];
    std::uint32_t& touched = writes ? place.writers : place.readers;
    if ((touched & bit(agent)) != 0) {
        return;
    }
    touched |= bit(agent);
    if ((place.quiet_all & bit(agent)) != 0 ||
        (writes && (place.quiet_readers & bit(agent)) != 0)) {
        assumptions_broken = true;
    }
    if (agent < kActorsMax) {
        (writes ? place.threads_writing : place.threads_reading) |=
            static_cast<std::uint8_t>(bit(world_.actors[agent].thread));
        const unsigned all = place.threads_reading | place.threads_writing;
        if (model_ != Model::sc && !place.shared && place.address != 0 && std::popcount(all) > 1 &&
            place.threads_writing != 0) {
            assumptions_broken = true;
        }
    }
}

std::uint32_t Machine::conflicts(PlaceId id, bool writes, std::uint32_t self) {
    Place& place = places_[id];
    const std::uint32_t others = world_.possible & ~self;
    const std::uint32_t found = (place.writers | (writes ? place.readers : 0)) & others;
    (writes ? place.quiet_all : place.quiet_readers) |= others & ~found;
    return found;
}

std::uint32_t Machine::contenders(unsigned index, const Request& request) {
    const bool writes = writes_now(request);
    std::uint32_t found = conflicts(request.place, writes, bit(index));
    if (const PlaceId second = second_place(request); second != kNowhere) {
        found |= conflicts(second, request.kind == Kind::fence, bit(index));
    }
    if (const LifeUse life = life_use(request.place, request); life.place != kNowhere) {
        found |= conflicts(life.place, life.changes, bit(index));
    }
    // Whatever a process wrote before it died is there to be found by those who clean up.
    const unsigned process = world_.actors[index].process;
    const auto statics = reinterpret_cast<std::uintptr_t>(statics_);
    if (writes && may_die_[process] && !world_.dead[process] &&
        places_[request.place].address - statics >= sizeof(Statics)) {
        found |= bit(kKill + process);
    }
    return found;
}

Machine::LifeUse Machine::life_use(PlaceId id, const Request& request) const {
    const Place& place = places_[id];
    if (place.address == 0 || place.object < 0) {
        return {};
    }
    const bool changes =
        place.is_word &&
        ((request.kind == Kind::compare_exchange && (request.expected & 0xff) == 0) ||
         ((request.kind == Kind::store || request.kind == Kind::exchange ||
           request.kind == Kind::compare_exchange) &&
          (request.operand & 0xff) == 0));
    const PlaceId life = watched_[static_cast<unsigned>(place.object)].life;
    return {place.is_word && !changes ? kNowhere : life, changes};
}

bool Machine::writes_now(const Request& request) const {
    switch (request.kind) {
    case Kind::load:
    case Kind::plain_load:
    case Kind::is_gone:
        return false;
    case Kind::compare_exchange:
        return model_ == Model::ra || read(request.place) == request.expected;
    default:
        return true;
    }
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
    write_raw(address, size, updated(kind, old, operand));
    if (begun_) {
        const Place& place = places_[place_of(address, size)];
        if (place.is_word) {
            check_edge(place, old, updated(kind, old, operand));
        }
    }
    return old;
}

/// What an actor will do depends on its stack (and the registers kept there) and on memory. Frames
/// that have returned are not part of it: what was read there no longer matters.
std::uint64_t Machine::stack_hash(unsigned index) const {
    const auto* at = static_cast<const std::byte*>(world_.actors[index].stack_pointer);
    const std::byte* const top = stacks_ + (index + 1) * kStackBytes;
    std::uint64_t one = 0x9e3779b97f4a7c15ULL;
    std::uint64_t two = index;
    for (; at < top; at += 16) {
        std::uint64_t words[2] = {};
        std::memcpy(words, at, at + 16 <= top ? 16 : 8);
        one = std::rotl((one ^ words[0]) * 0xd6e8feb86659fd93ULL, 27);
        two = std::rotl((two ^ words[1]) * 0xa0761d6478bd642fULL, 31);
    }
    return mix(one ^ std::rotl(two, 17));
}

void Machine::park(Actor& actor) { switch_stack(&actor.stack_pointer, engine_sp_); }

void Machine::abandon() {
    Actor& self = world_.actors[static_cast<unsigned>(current_)];
    park(self);
    std::abort();  // Nobody resumes it.
}

std::uint64_t Machine::step(Kind kind, const void* address, unsigned size, std::memory_order order,
                            std::uint64_t operand, std::uint64_t expected) {
    const HeapOf own(false);
    if (current_ < 0) {
        return step_at_once(kind, const_cast<void*>(address), size, operand, expected);
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
    } else if (kind == Kind::notify && operand != 0) {
        request.place = thing(Thing::signal, static_cast<unsigned>(operand - 1));
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
            note_access(second, index, kind == Kind::fence);
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
        return result;
    }
    self.request = request;
    park(self);
    return self.result;
}

PlaceId Machine::second_place(const Request& request) const {
    // Only fences and sequentially consistent accesses take part in the one order of all.
    if (model_ == Model::ra && request.order == std::memory_order_seq_cst &&
        (is_memory(request.kind) || request.kind == Kind::fence)) {
        return thing(Thing::order, 0);
    }
    return kNowhere;
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

std::uint64_t Machine::read(PlaceId id) const {
    const Place& place = places_[id];
    return read_raw(reinterpret_cast<const void*>(place.address), place.size);
}

void Machine::check_edge(const Place& place, std::uint64_t old, std::uint64_t value) {
    const auto from = static_cast<std::uint32_t>(old & 0xff);
    const auto to = static_cast<std::uint32_t>(value & 0xff);
    const auto edge = watched_[static_cast<unsigned>(place.object)].edge;
    if (from == to || edge == nullptr) {
        return;
    }
    ++edges[from << 8 | to];
    if (!edge(old, value)) {
        explore::fail("state-edge", "a word goes from state " + std::to_string(from) + " to " +
                                        std::to_string(to) + ", which is not documented");
    }
}

void Machine::write(PlaceId id, std::uint64_t value, int thread) {
    const Place& place = places_[id];
    const std::uint64_t old = read(id);
    value &= mask_of(place.size);
    write_raw(reinterpret_cast<void*>(place.address), place.size, value);
    if (old != value) {
        world_.memory_hash ^= hash2(place.address, old) ^ hash2(place.address, value);
    }
    if (place.is_word) {
        WatchedObject& object = world_.objects[static_cast<unsigned>(place.object)];
        const auto from = static_cast<std::uint32_t>(old & 0xff);
        const auto to = static_cast<std::uint32_t>(value & 0xff);
        check_edge(place, old, value);
        if (to == 0 && from != 0) {
            ++object.life;
            if (thread >= 0) {
                object.section_seen[static_cast<unsigned>(thread)] = 0;
            }
        }
        object.free = to == 0;
    }
    for (unsigned index = 0; index < thread_count_; ++index) {
        if (section_places_[index] == id) {
            const bool open = (value & 0xffff) != 0;
            if (open && !world_.in_section[index]) {
                ++world_.sections[index];
            }
            world_.in_section[index] = open;
        }
    }
}

void Machine::check_access(unsigned actor, const Request& request) {
    const Place& place = places_[request.place];
    if (place.object < 0) {
        return;
    }
    Actor& self = world_.actors[actor];
    WatchedObject& object = world_.objects[static_cast<unsigned>(place.object)];
    if (!place.is_word && object.free) {
        explore::fail("use-after-free", plans_[actor].name + " touches " +
                                            place_name(request.place) + ", which is free");
    }
    const unsigned thread = self.thread;
    if ((place.is_word && !writes_now(request)) || !world_.in_section[thread]) {
        return;
    }
    if (object.section_seen[thread] == world_.sections[thread] &&
        object.life_seen[thread] != object.life) {
        explore::fail("reuse", plans_[actor].name + " touches " + place_name(request.place) +
                                   " of a later life than its section has seen");
    }
    object.section_seen[thread] = world_.sections[thread];
    object.life_seen[thread] = object.life;
}

std::uint64_t Machine::execute_memory(unsigned actor, const Request& request, unsigned variant) {
    check_access(actor, request);
    const unsigned thread = world_.actors[actor].thread;
    const bool direct = model_ == Model::sc || variant == kDirect;
    if (!direct && model_ == Model::ra) {
        return ra_execute(thread, request, variant);
    }
    Thread& own = world_.threads[thread];
    const bool stores = request.kind == Kind::store || request.kind == Kind::plain_store;
    if (!direct && stores && request.order != std::memory_order_seq_cst) {
        own.buffer[own.buffered++] = {request.operand & mask_of(request.size), request.place,
                                      request.size};
        return 0;
    }
    std::uint64_t old = read(request.place);
    if (!direct) {
        for (unsigned entry = own.buffered; entry-- > 0;) {
            if (own.buffer[entry].place == request.place) {
                old = own.buffer[entry].value;
                break;
            }
        }
    }
    if (request.kind == Kind::load || request.kind == Kind::plain_load ||
        (request.kind == Kind::compare_exchange && old != request.expected)) {
        return old;
    }
    write(request.place, updated(request.kind, old, request.operand), static_cast<int>(thread));
    return stores ? 0 : old;
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

void Machine::check_races() {
    for (unsigned one = 0; one < thread_count_; ++one) {
        const Thread& first = world_.threads[one];
        if (first.finished || world_.dead[first.process]) {
            continue;
        }
        const Actor& a = world_.actors[first.active[first.depth - 1U]];
        if (a.status != Status::ready || a.request.place == kNowhere ||
            !places_[a.request.place].plain) {
            continue;
        }
        for (unsigned two = one + 1; two < thread_count_; ++two) {
            const Thread& second = world_.threads[two];
            if (second.finished || world_.dead[second.process]) {
                continue;
            }
            const Actor& b = world_.actors[second.active[second.depth - 1U]];
            if (b.status == Status::ready && b.request.place == a.request.place &&
                (is_plain(a.request.kind) || is_plain(b.request.kind)) &&
                (writes_now(a.request) || writes_now(b.request))) {
                fail("race", plans_[first.active[first.depth - 1U]].name + " and " +
                                 plans_[second.active[second.depth - 1U]].name + " touch " +
                                 place_name(a.request.place) + " with no order between them");
                return;
            }
        }
    }
}

std::uint64_t Machine::initial(PlaceId id) const {
    const Place& place = places_[id];
    const auto statics = reinterpret_cast<std::uintptr_t>(statics_);
    if (place.address - statics < sizeof(Statics)) {
        return read_raw(base_statics_.data() + (place.address - statics), place.size);
    }
    if (place.address >= kArenaBase && place.address - kArenaBase < base_arena_.size()) {
        return read_raw(base_arena_.data() + (place.address - kArenaBase), place.size);
    }
    return read(id);
}

std::uint64_t Machine::updated_value(const Request& request, std::uint64_t old) {
    return updated(request.kind, old, request.operand);
}

void Machine::flush(unsigned index) {
    Thread& thread = world_.threads[index];
    const BufferedStore first = thread.buffer[0];
    --thread.buffered;
    for (unsigned entry = 0; entry < thread.buffered; ++entry) {
        thread.buffer[entry] = thread.buffer[entry + 1];
    }
    write(first.place, first.value, static_cast<int>(index));
    if (thread.buffered == 0) {
        update_possible();
    }
}

void Machine::drain_all() {
    for (unsigned index = 0; index < thread_count_; ++index) {
        while (world_.threads[index].buffered != 0) {
            flush(index);
        }
    }
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
        if (request.kind != Kind::forget) {
        }
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
        return is_gone(request.operand) ? 1 : 0;
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

}  // namespace explore
