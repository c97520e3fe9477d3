// SPDX-License-Identifier: Apache-2.0
//
// The modelled machine: actors (threads and the handlers that interrupt them) as fibers in one
// operating system's thread, their processes, the memory they share and its model. It knows what
// may happen next and can make it happen; which of it to choose is the search's business
// (search.hpp).
//
// Everything that a run changes lies in memory that a Snapshot copies: World, the live lines of the
// arena, the stacks of the fibers. So going back to an earlier state is a copy, not a new run.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sync/platform.hpp"
#include "tests/explore/steps.hpp"

namespace explore {

inline constexpr unsigned kActorsMax = 14;
inline constexpr unsigned kThreadsMax = 6;
inline constexpr unsigned kProcessesMax = 3;
inline constexpr unsigned kBufferMax = 24;
inline constexpr unsigned kNestingMax = 3;
inline constexpr unsigned kNotesMax = 64;

enum class Model : std::uint8_t { sc, tso, ra };
const char* name_of(Model model);

/// What an actor is: a thread; a handler of an event, which may or may not come; the handler of a
/// notification, which comes once the signal has been sent.
enum class Role : std::uint8_t { thread, event, notification };
enum class Status : std::uint8_t { idle, ready, blocked, finished, dead };

using PlaceId = std::uint32_t;
inline constexpr PlaceId kNowhere = 0;

struct Request {
    Kind kind = Kind::none;
    std::uint8_t size = 0;
    std::memory_order order = std::memory_order_relaxed;
    PlaceId place = kNowhere;
    std::uint64_t operand = 0;
    std::uint64_t expected = 0;
    PlaceId high = kNowhere;  ///< Of a pair: the second word, and the same of it.
    std::uint64_t high_operand = 0;
    std::uint64_t high_expected = 0;
};

/// A memory location, or something of the system that steps touch (a thread's life, its signal).
/// Who touches it is gathered over the whole exploration; a bit per agent, see Who.
struct Place {
    std::uintptr_t address = 0;
    std::uint8_t size = 0;
    bool shared = false;  ///< Between threads; fixed during a pass. Others need no weak memory.
    bool plain = false;
    std::uint8_t threads_reading = 0;
    std::uint8_t threads_writing = 0;
    std::int16_t object = -1;    ///< Of watched ones.
    bool is_word = false;        ///< The word of that object.
    std::int16_t messages = -1;  ///< Index into the lists of the release/acquire model.
    std::int16_t guard = -1;     ///< Of plain data: index into its knowledge of who has read.
    PlaceId pair = kNowhere;     ///< The other word of a pair.
    std::uint32_t readers = 0;
    std::uint32_t writers = 0;
    std::uint32_t quiet_readers = 0;  ///< Who was taken never to write it.
    std::uint32_t quiet_all = 0;      ///< Who was taken never to touch it.
};

/// Who makes a transition, as a number below 32: an actor; the store buffer of a thread; the death
/// of a process; the end of all motion.
using Who = std::uint8_t;
inline constexpr Who kFlush = 16;
inline constexpr Who kKill = 24;
inline constexpr Who kRest = 31;

struct Transition {
    Who who = 0;
    std::uint8_t variant = 0;
    friend bool operator==(const Transition&, const Transition&) = default;
};
/// Operands of is_gone from here on are processes.
inline constexpr unsigned kProcessTarget = 100;

/// Variant of a step that needed no memory model: the place is one thread's alone.
inline constexpr std::uint8_t kDirect = 0xff;

struct Actor {
    Role role = Role::thread;
    Status status = Status::idle;
    std::uint8_t thread = 0;
    std::uint8_t process = 0;
    std::uint32_t own_steps = 0;
    void* stack_pointer = nullptr;
    std::uint64_t history = 0;  ///< Hash of all that its future depends on but for memory.
    Request request;
    std::uint64_t result = 0;
    std::uint64_t high_result = 0;
    PlaceId waits_on = kNowhere;
};

struct BufferedStore {
    std::uint64_t value;
    PlaceId place;
    std::uint32_t size;
};

struct Thread {
    std::uint8_t process = 0;
    bool finished = true;
    bool signalled = false;
    std::uint8_t depth = 0;  ///< Of `active`: the thread itself, then the handlers on top of it.
    std::array<std::uint8_t, kNestingMax + 1> active{};
    std::uint32_t buffered = 0;
    std::array<BufferedStore, kBufferMax> buffer{};
};

struct WatchedObject {
    std::uint32_t life = 1;  ///< Raised whenever it becomes free.
    bool free = true;
    std::array<std::uint32_t, kThreadsMax> life_seen{};     ///< By the thread's open section.
    std::array<std::uint32_t, kThreadsMax> section_seen{};  ///< Number of that section; 0: none.
};
inline constexpr unsigned kObjectsMax = 24;

/// All that a run changes but for the arena and the stacks. Trivially copyable.
struct World {
    std::array<Actor, kActorsMax> actors{};
    std::array<Thread, kThreadsMax> threads{};
    std::array<bool, kProcessesMax> dead{};
    std::uint64_t memory_hash = 0;
    std::uint64_t notes_hash = 0;
    std::uint64_t heap_hash = 0;
    std::uint32_t possible = 0;  ///< Agents that may still do something.
    std::uint32_t path_size = 0;
    std::uint32_t rests = 0;
    std::uint32_t preemptions_left = 0;
    std::uint32_t notify_failures_left = 0;
    Who last = 0;
    bool failed = false;
    std::array<std::uint64_t, kNotesMax> notes{};
    std::array<std::uint32_t, kThreadsMax> sections{};  ///< Brief sections begun, per thread.
    std::array<bool, kThreadsMax> in_section{};
    std::array<WatchedObject, kObjectsMax> objects{};
};

/// What the seam has one of per thread and per process, at fixed addresses.
struct Statics {
    std::array<taskwork::platform::ThreadState, kThreadsMax> threads;
    std::array<taskwork::platform::ProcessState, kProcessesMax> processes;
    std::array<taskwork::platform::Atomic<std::uint64_t>, kProcessesMax> cookies;
};

struct Failure {
    std::string oracle;
    std::string text;
};

/// One step as it happened, for the table of a failure.
struct Event {
    Transition transition;
    Request request;
    std::uint64_t before = 0;
    std::uint64_t result = 0;
    std::string note;
};

class Snapshot {
public:
    /// Room for `size` bytes, whose content is undefined.
    std::byte* prepare(std::size_t size) {
        if (capacity_ < size) {
            data_ = std::make_unique_for_overwrite<std::byte[]>(size);
            capacity_ = size;
        }
        return data_.get();
    }
    [[nodiscard]] const std::byte* data() const { return data_.get(); }
    std::size_t lines = 0;  ///< Of the arena that it holds.

private:
    std::unique_ptr<std::byte[]> data_;
    std::size_t capacity_ = 0;
};

/// What a scenario declares of its actors.
struct ActorPlan {
    std::string name;
    std::function<void()> body;
    Role role;
    std::uint8_t thread;
};

/// What steps touch that is no memory; one place for each thread or process.
enum class Thing : unsigned { none, life, signal, process, order, barrier, rest, count };

class Machine {
public:
    static Machine& get();

    // --- Set-up, by scenarios (through scenario.hpp) ---
    /// Forgets everything; a new scenario is laid out.
    void reset();
    unsigned add_process(bool may_die);
    unsigned add_thread(unsigned process, std::string name, std::function<void()> body,
                        bool daemon);
    unsigned add_handler(unsigned thread, Role role, std::string name, std::function<void()> body);
    void set_nesting(unsigned depth) { nesting_ = depth; }
    void set_notify_failures(unsigned count) { notify_failures_ = count; }
    void set_membarrier(bool offered) { membarrier_ = offered; }
    [[nodiscard]] bool offers_membarrier() const { return membarrier_; }
    /// Runs `function` at once with the identity of a thread.
    template <class Function>
    void as_thread(unsigned thread, Function function) {
        const int before = identity_;
        identity_ = static_cast<int>(thread);
        function();
        identity_ = before;
    }
    /// The memory is part of every snapshot though no step may touch it.
    void keep(const void* memory, std::size_t size);
    /// Atomics of 4 bytes in this memory are parts of words that are also used whole.
    void words(const void* memory, std::size_t size);
    /// Accesses of the object are checked against its life: its first word says whether it is free.
    /// `fields`: what may be touched of it only then.
    void watch(const void* object, const void* fields, std::size_t size,
               bool (*edge)(std::uint64_t, std::uint64_t));
    /// The thread's word that says whether it is inside a brief section.
    void watch_section(unsigned thread, const void* word);
    void name(const void* memory, std::size_t size, const std::string& name);
    /// All is laid out: takes the memory that runs begin with.
    void begin(Model model);
    [[nodiscard]] bool begun() const { return begun_; }

    // --- Runs ---
    /// Back to the start of a run: every thread before its first step.
    void restart();
    void save(Snapshot& to) const;
    void restore(const Snapshot& from);
    [[nodiscard]] std::uint64_t state_key() const;

    /// What can happen now, as a set of bits; `mandatory`: what will, if nothing else does.
    std::uint32_t enabled(std::uint32_t* mandatory) const;
    /// In how many ways.
    [[nodiscard]] unsigned variants(Who who) const;
    /// A part of `enabled` that is enough to look at here (see docs/explorer.md).
    std::uint32_t ample(std::uint32_t enabled, std::uint32_t mandatory);
    void perform(Transition transition);
    /// A data race between what two actors are about to do.
    void check_races();

    [[nodiscard]] const World& world() const { return world_; }
    World& world() { return world_; }
    [[nodiscard]] const Failure& failure() const { return failure_; }
    void fail(const char* oracle, const std::string& text);

    // --- For the search ---
    std::vector<Transition> path;  ///< Of the run, world().path_size long.
    bool all_steps_park = false;   ///< Replays and naive searches: nothing happens in passing.
    bool recording = false;
    std::vector<Event> events;
    bool assumptions_broken = false;  ///< What the ample sets relied on has turned out wrong.
    std::uint64_t steps = 0;
    bool replaying = false;  ///< The path says which steps were kDirect.
    /// Fixes what is shared between threads, for the coming pass.
    void begin_pass();
    /// "" or where memory has changed that no snapshot holds: a scenario must keep() it.
    [[nodiscard]] std::string untracked() const;

    // --- For the seam and the scenarios ---
    /// `high`: of a step on two words.
    std::uint64_t step(Kind kind, const void* address, unsigned size, std::memory_order order,
                       std::uint64_t operand, std::uint64_t expected, HighWord* high = nullptr);
    [[nodiscard]] bool in_fiber() const { return current_ >= 0; }
    [[nodiscard]] unsigned thread_now() const;
    [[nodiscard]] unsigned process_now() const { return world_.threads[thread_now()].process; }
    [[nodiscard]] unsigned actor_now() const { return static_cast<unsigned>(current_); }
    Statics& statics() { return *statics_; }
    void note_add(unsigned index, std::uint64_t amount);
    [[nodiscard]] std::uint64_t note_get(unsigned index) const { return world_.notes[index]; }
    void comment(const std::string& text);
    [[nodiscard]] const std::vector<ActorPlan>& plans() const { return plans_; }
    [[nodiscard]] unsigned thread_count() const { return thread_count_; }
    [[nodiscard]] unsigned process_count() const { return process_count_; }
    [[nodiscard]] bool may_die(unsigned process) const { return may_die_[process]; }
    [[nodiscard]] bool is_daemon(unsigned thread) const { return daemon_[thread]; }
    [[nodiscard]] unsigned nesting() const { return nesting_; }
    [[nodiscard]] Model model() const { return model_; }
    [[nodiscard]] std::string place_name(PlaceId place) const;
    [[nodiscard]] const Place& place(PlaceId id) const { return places_[id]; }
    [[nodiscard]] std::int32_t tid_of(unsigned thread) const {
        return 100 + static_cast<std::int32_t>(thread);
    }
    [[nodiscard]] std::int32_t pid_of(unsigned process) const {
        return 10 + static_cast<std::int32_t>(process);
    }
    /// Edges of watched words that were taken, over all runs: {from state, to state}.
    std::unordered_map<std::uint32_t, std::uint64_t> edges;

    void fiber_main(unsigned actor);
    /// Runs the checks of a run's end, on a stack of their own: the first failure ends them,
    /// wherever it is found. No step of theirs is a step of an actor.
    void run_checks(const std::function<void()>& checks);
    void checks_main();
    /// A fiber that has failed never goes on.
    [[noreturn]] void abandon();
    bool running_fiber() const { return current_ >= 0 || checks_ != nullptr; }

private:
    Machine();
    PlaceId place_of(const void* address, unsigned size);
    [[nodiscard]] static PlaceId thing(Thing kind, unsigned index);
    std::uint64_t step_at_once(Kind kind, void* address, unsigned size, std::uint64_t operand,
                               std::uint64_t expected);
    std::uint64_t pair_at_once(std::uint64_t* words, std::uint64_t operand, std::uint64_t expected,
                               HighWord& high);
    std::uint64_t step_outside(Kind kind, void* address, unsigned size, std::uint64_t operand,
                               std::uint64_t expected);
    std::uint64_t step_of_part(Kind kind, std::uintptr_t address, unsigned size,
                               std::memory_order order, std::uint64_t operand);
    [[nodiscard]] bool is_modelled(std::uintptr_t address) const;
    [[nodiscard]] bool is_part(std::uintptr_t address, unsigned size) const;
    void park(Actor& actor);
    [[nodiscard]] std::uint64_t stack_hash(unsigned index) const;
    void add_line(std::uintptr_t address);
    void note_access(PlaceId place, unsigned agent, bool writes);
    std::uint32_t conflicts(PlaceId place, bool writes, std::uint32_t self);
    /// Agents whose steps do not commute with what the actor is about to do.
    std::uint32_t contenders(unsigned actor, const Request& request);
    bool close(Who seed, std::uint32_t enabled, std::uint32_t* ample);
    [[nodiscard]] bool writes_now(const Request& request) const;
    /// What a step has to do with the life of a watched object.
    struct LifeUse {
        PlaceId place = kNowhere;
        bool changes = false;
    };
    [[nodiscard]] LifeUse life_use(PlaceId place, const Request& request) const;
    [[nodiscard]] bool op_enabled(const Actor& actor) const;
    [[nodiscard]] bool is_gone(std::uint64_t target) const;
    [[nodiscard]] bool needs_drained(const Request& request) const;
    [[nodiscard]] PlaceId second_place(const Request& request) const;
    [[nodiscard]] bool feels_barrier(const Request& request) const;
    [[nodiscard]] bool ends_life(PlaceId place, std::uint64_t old, std::uint64_t value) const;

    std::uint64_t execute(unsigned actor, const Request& request, unsigned variant);
    std::uint64_t execute_memory(unsigned actor, const Request& request, unsigned variant);
    std::uint64_t execute_pair(unsigned actor, const Request& request, bool direct);
    [[nodiscard]] std::uint64_t read(PlaceId place) const;
    void write(PlaceId place, std::uint64_t value, int thread);
    void check_access(unsigned actor, const Request& request);
    void check_edge(const Place& place, std::uint64_t old, std::uint64_t value);
    void flush(unsigned thread);
    void drain_all();
    void resume(unsigned actor);
    void start(unsigned actor);
    void finished(unsigned actor);
    void kill(unsigned process);
    void update_possible();
    void record(Transition transition, const Request& request, std::uint64_t before,
                std::uint64_t result);

    // Release/acquire (memory_ra.cpp).
    void ra_reset();
    unsigned ra_variants(unsigned thread, const Request& request) const;
    std::uint64_t ra_execute(unsigned thread, const Request& request, unsigned variant);
    void ra_pair(unsigned thread, const Request& request, bool exchanges);
    void ra_fence(unsigned thread);
    void ra_membarrier();
    /// An access to a field of a watched object, or a read of plain data.
    void ra_touch(unsigned thread, std::int16_t guard, PlaceId place);
    /// The object becomes free, or the data is written: all accesses must have come before.
    void ra_settle(unsigned thread, std::int16_t guard, bool released, PlaceId place);
    /// False while a place that orders threads may still be taken for one thread's own.
    [[nodiscard]] bool orders_known() const { return replaying || !assumptions_broken; }
    /// A thread that is known to have ended has done all it did.
    void ra_ended(unsigned thread, unsigned by);
    /// The system orders: who sends a signal or wakes, and who is told.
    void ra_tell(unsigned from, unsigned to);
    void ra_told(unsigned thread);
    void ra_rest();
    [[nodiscard]] std::uint64_t ra_hash() const;
    std::byte* ra_save(std::byte* to) const;
    const std::byte* ra_restore(const std::byte* from);
    [[nodiscard]] std::size_t ra_bytes() const;
    [[nodiscard]] std::uint64_t initial(PlaceId place) const;

    World world_;
    Statics* statics_ = nullptr;
    std::byte* stacks_ = nullptr;
    Failure failure_;
    int current_ = -1;  ///< The actor whose fiber runs.
    int identity_ = 0;  ///< The thread that set-up code is.
    void* engine_sp_ = nullptr;
    const std::function<void()>* checks_ = nullptr;  ///< Under way.
    Model model_ = Model::sc;

    std::vector<ActorPlan> plans_;
    unsigned thread_count_ = 0;
    unsigned process_count_ = 0;
    std::array<bool, kProcessesMax> may_die_{};
    std::array<bool, kThreadsMax> daemon_{};
    unsigned nesting_ = 1;
    unsigned notify_failures_ = 0;
    bool membarrier_ = true;

    std::vector<Place> places_;
    std::vector<PlaceId>
        arena_places_;  ///< By position in the arena: flags of a byte are neighbours.
    std::vector<PlaceId> static_places_;
    std::vector<PlaceId> heap_places_;
    std::vector<std::uintptr_t> lines_;  ///< Live 64-byte lines of the arena.
    std::vector<bool> line_known_;
    std::vector<std::byte> base_arena_;  ///< The arena at the start of a run.
    std::vector<std::byte> base_statics_;
    std::vector<std::byte> base_heap_;
    std::array<std::uint64_t, kNotesMax> base_notes_{};
    bool begun_ = false;
    Snapshot base_;
    bool base_valid_ = false;
    struct Watched {
        std::uintptr_t address;
        std::uintptr_t fields;
        std::size_t size;
        bool (*edge)(std::uint64_t, std::uint64_t);
        PlaceId
            life;  ///< Stands for whether it is free: claims and releases do not commute with uses.
    };
    std::vector<Watched> watched_;
    std::array<PlaceId, kThreadsMax> section_places_{};
    struct Name {
        std::uintptr_t begin;
        std::size_t size;
        std::string text;
    };
    std::vector<Name> names_;
    std::vector<std::pair<std::uintptr_t, std::size_t>> words_;

    friend struct RaMemory;
};

/// Reports a breach found by explored code or by a check. Does not return in explored code.
void fail(const char* oracle, const std::string& text);

}  // namespace explore
