// SPDX-License-Identifier: Apache-2.0
#include "map/program_array.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <vector>

#include "map/array.hpp"
#include "map/test_steps.hpp"

namespace taskwork::map {
namespace {

/// References that the array has given back, by program: what stands for programs here is numbers.
std::map<int*, int> released;

class ProgramArray : public MapTest {
protected:
    ProgramArray() {
        released.clear();
        set_program_release([](void* program) noexcept { ++released[static_cast<int*>(program)]; });
    }
    static MapSpec programs() { return spec(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 3); }
    static std::uint32_t id_at(Map& map, std::uint32_t index) {
        std::uint32_t id = 0;
        return lookup_copy(map, &index, &id, 0) == no_error ? id : 0;
    }
    static std::errc put_at(Map& map, std::uint32_t index, int* program, std::uint32_t id,
                            std::uint32_t type = BPF_PROG_TYPE_PERF_EVENT) {
        return put_entry(map, &index, {program, id, {type}, nullptr});
    }
    int first_ = 0;
    int second_ = 0;
};

TEST_F(ProgramArray, gives_back_what_is_replaced_and_deleted) {
    Map& map = make(programs());
    ASSERT_EQ(put_at(map, 1, &first_, 10), no_error);
    EXPECT_EQ(id_at(map, 1), 10U);
    EXPECT_EQ(id_at(map, 0), 0U);
    ASSERT_EQ(put_at(map, 1, &second_, 20), no_error);
    EXPECT_EQ(id_at(map, 1), 20U);
    EXPECT_EQ(released[&first_], 1);
    const std::uint32_t index = 1;
    EXPECT_EQ(remove(map, &index), no_error);
    EXPECT_EQ(released[&second_], 1);
    EXPECT_EQ(remove(map, &index), std::errc::no_such_file_or_directory);
    EXPECT_EQ(usage(map).elements, 0U);
}

TEST_F(ProgramArray, has_the_errors_of_the_kernel) {
    Map& map = make(programs());
    const std::uint32_t outside = 3;
    EXPECT_EQ(put_at(map, outside, &first_, 10), std::errc::argument_list_too_long);
    EXPECT_EQ(remove(map, &outside), std::errc::argument_list_too_long);
    EXPECT_EQ(may_put_at(map, &outside, BPF_EXIST), std::errc::invalid_argument);
    // The first program decides on the type, also when it has gone.
    ASSERT_EQ(put_at(map, 0, &first_, 10), no_error);
    const std::uint32_t index = 0;
    ASSERT_EQ(remove(map, &index), no_error);
    EXPECT_EQ(put_at(map, 0, &second_, 20, BPF_PROG_TYPE_SYSCALL), std::errc::invalid_argument);
    EXPECT_EQ(released[&second_], 0);  // still the caller's
    EXPECT_EQ(lookup(map, &index), nullptr);
    EXPECT_FALSE(has_keys(map));
    MapSpec with_slot = programs();
    with_slot.fields.task_work = 0;
    EXPECT_NE(refused(with_slot), no_error);
}

// K100.
TEST_F(ProgramArray, lets_go_of_all_programs_when_its_last_user_leaves) {
    Map& map = make(programs());
    get_reference(map);  // as a program that uses it has
    ASSERT_EQ(put_at(map, 0, &first_, 10), no_error);
    ASSERT_EQ(put_at(map, 2, &second_, 20), no_error);
    get_user(map);
    put_user(map);
    EXPECT_EQ(id_at(map, 0), 10U);
    put_user(map);
    EXPECT_EQ(released[&first_], 1);
    EXPECT_EQ(released[&second_], 1);
    EXPECT_EQ(id_at(map, 0), 0U);
    put_reference(map);
    task::Worker::synchronize();
    EXPECT_EQ(released[&first_], 1);
}

// ---- An event after each instruction, and a death -----------------------------------------------

/// An entry of either array while the host changes it. Handlers look for what stands there: of a
/// program by its address, of an event by an output.
struct OneEntry {
    using Model = std::uint64_t;  ///< Which object stands there, 0: none.
    static constexpr std::uint64_t kObjects = 3;

    struct Operation {
        enum class Kind { put, remove, copy, find } kind;
        std::uint64_t which = 0;
        std::uint64_t outcome = 0;

        void run(Map& map) noexcept {
            const std::uint32_t index = 0;
            const Sections sections;
            if (kind == Kind::put) {
                ++references;
                outcome = static_cast<std::uint64_t>(put_entry(
                    map, &index,
                    {&outputs[which], static_cast<std::uint32_t>(which), {}, &outputs[which]}));
            } else if (kind == Kind::remove) {
                outcome = static_cast<std::uint64_t>(map::remove(map, &index));
            } else if (kind == Kind::copy) {
                std::uint32_t id = 0;
                outcome = lookup_copy(map, &index, &id, 0) == no_error ? id : 0;
            } else if (map.type == BPF_MAP_TYPE_PROG_ARRAY) {
                const auto* found = static_cast<const EventOutput*>(program_at(map, index));
                outcome = found == nullptr ? 0 : static_cast<std::uint64_t>(found - outputs);
            } else {
                outcome = find_by_output(map);
            }
        }
        /// Each has its own ring.
        static std::uint64_t find_by_output(Map& map) noexcept {
            const std::uint64_t record = 0;
            const std::errc error =
                perf_output(map, 0, 0, &record, sizeof record, task::current()->process);
            for (std::uint64_t i = 1; i <= kObjects; ++i) {
                Map* const ring = outputs[i].ring.load(std::memory_order_relaxed);
                const auto nothing = [](void*, void*, std::size_t) { return 0L; };
                if (ring_consume(*ring, nothing, nullptr) == 1) {
                    return error == no_error ? i : kObjects + 1;
                }
            }
            return error == std::errc::no_such_file_or_directory ? 0 : kObjects + 2;
        }
    };
    static void specify(Model& model, Operation& operation) {
        using Kind = Operation::Kind;
        operation.outcome = 0;
        if (operation.kind == Kind::put) {
            model = operation.which;
        } else if (operation.kind != Kind::remove) {
            operation.outcome = model;
        } else {
            if (model == 0) {
                operation.outcome =
                    static_cast<std::uint64_t>(std::errc::no_such_file_or_directory);
            }
            model = 0;
        }
    }
    static void fill(Map& map, const Model& model) {
        Operation{Operation::Kind::remove}.run(map);
        if (model != 0) {
            Operation{Operation::Kind::put, model}.run(map);
        }
    }
    static Model content(Map& map) {
        Operation find{Operation::Kind::find};
        find.run(map);
        EXPECT_EQ(references, find.outcome == 0 ? 0 : 1);
        EXPECT_EQ(usage(map).elements, find.outcome == 0 ? 0U : 1U);
        return find.outcome;
    }
    static inline EventOutput outputs[kObjects + 1];
    static inline int references;  ///< That the array has.
};

class SteppedEntry : public SteppedMap<OneEntry> {
protected:
    using Kind = Operation::Kind;
    Map& make_array(std::uint32_t type) {
        OneEntry::references = 0;
        set_program_release([](void*) noexcept { --OneEntry::references; });
        set_event_release([](void*) noexcept { --OneEntry::references; });
        for (std::uint64_t i = 1; i <= OneEntry::kObjects; ++i) {
            EventOutput& output = OneEntry::outputs[i];
            output.takes_records = true;
            output.enabled.store(1, std::memory_order_relaxed);
            output.ring.store(&make(spec(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096)),
                              std::memory_order_relaxed);
        }
        return make(spec(type, 4, 4, 2));
    }
    const std::vector<Model> starts_ = {0, 1};
};

TEST_F(SteppedEntry, of_programs_and_the_event_happen_one_after_the_other) {
    interrupt({&make_array(BPF_MAP_TYPE_PROG_ARRAY)}, starts_,
              {{Kind::put, 2}, {Kind::remove}, {Kind::copy}, {Kind::find}}, {{Kind::find}}, 11);
}

TEST_F(SteppedEntry, of_perf_events_and_the_event_happen_one_after_the_other) {
    interrupt({&make_array(BPF_MAP_TYPE_PERF_EVENT_ARRAY)}, starts_,
              {{Kind::put, 2}, {Kind::remove}}, {{Kind::find}}, 11);
}

/// Members look up; only the host changes.
TEST_F(SteppedEntry, of_programs_is_as_before_a_death) {
    kill_in(make_array(BPF_MAP_TYPE_PROG_ARRAY), starts_, {{Kind::find}}, 5);
}

// An output is interrupted by one into the same event, and dies, after any of its instructions.

struct PerfOutput {
    static constexpr std::uint64_t kRecordBytes = 1000;
    static constexpr std::size_t kRoom = 4;  ///< Records that a ring of a page takes.
    /// What stands at the indices of the array; the last has no event.
    enum Index : std::uint32_t { takes, disabled, of_another_processor, none, index_count };

    using Model = std::vector<std::uint64_t>;
    struct Operation {
        std::uint64_t number;
        std::uint32_t index = takes;
        std::errc outcome = no_error;
        void run(Map& map) noexcept {
            std::uint64_t record[kRecordBytes / 8] = {number};
            const Sections sections;
            outcome = perf_output(map, index, 0, record, sizeof record, task::current()->process);
        }
    };
    static void specify(Model& model, Operation& operation) {
        switch (operation.index) {
        case takes:
            operation.outcome = model.size() < kRoom ? no_error : std::errc::no_space_on_device;
            if (model.size() < kRoom) {
                model.push_back(operation.number);
            }
            return;
        case none:
            operation.outcome = std::errc::no_such_file_or_directory;
            return;
        default:
            operation.outcome = std::errc::operation_not_supported;
        }
    }
    static void fill(Map& map, const Model& model) {
        content(map);
        for (const std::uint64_t number : model) {
            Operation output{number};
            output.run(map);
            ASSERT_EQ(output.outcome, no_error);
        }
    }
    /// Takes the records out: this is what a ring has, and fill() puts them there anew.
    static Model content(Map&) {
        Model found;
        ring_consume(
            *ring,
            [](void* list, void* data, std::size_t size) {
                EXPECT_EQ(size, kRecordBytes);
                static_cast<Model*>(list)->push_back(*static_cast<const std::uint64_t*>(data));
                return 0L;
            },
            &found);
        return found;
    }
    static inline Map* ring;
};

class SteppedPerfOutput : public SteppedMap<PerfOutput> {
protected:
    /// An array with all that may stand there.
    Map& events() {
        set_event_release([](void*) noexcept {});
        PerfOutput::ring = &make(spec(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096));
        Map& map = make(spec(BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, PerfOutput::index_count));
        for (std::uint32_t index = 0; index < PerfOutput::none; ++index) {
            EventOutput& output = outputs_[index];
            output.takes_records = true;
            output.processor = index == PerfOutput::of_another_processor ? 1 : -1;
            output.enabled.store(index == PerfOutput::disabled ? 0 : 1, std::memory_order_relaxed);
            output.ring.store(PerfOutput::ring, std::memory_order_relaxed);
            EXPECT_EQ(put_entry(map, &index, {&output, index + 1, {}, &output}), no_error);
        }
        return map;
    }
    EventOutput outputs_[PerfOutput::none];
    const std::vector<PerfOutput::Model> starts_ = {{}, {1}, {1, 2, 3}, {1, 2, 3, 4}};
};

TEST_F(SteppedPerfOutput, and_the_event_happen_one_after_the_other) {
    Map& map = events();
    interrupt({&map}, starts_, {{1000}, {1000, PerfOutput::disabled}, {1000, PerfOutput::none}},
              {{2000}, {2000, PerfOutput::of_another_processor}}, 61);
    PerfOutput::content(map);
    EXPECT_EQ(ring_query(*PerfOutput::ring, BPF_RB_AVAIL_DATA), 0U);
}

TEST_F(SteppedPerfOutput, is_as_before_or_as_after_a_death) {
    Map& map = events();
    kill_in(map, starts_, {{1000}}, 211);
    PerfOutput::content(map);
    EXPECT_EQ(ring_query(*PerfOutput::ring, BPF_RB_AVAIL_DATA), 0U);
}

}  // namespace
}  // namespace taskwork::map
