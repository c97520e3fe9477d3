// SPDX-License-Identifier: Apache-2.0
#include "map/program_array.hpp"

#include <gtest/gtest.h>

#include <map>

#include "map/array.hpp"
#include "map/test_map.hpp"

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
        return put_entry(map, &index, {program, id, type});
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
    with_slot.task_work_offset = 0;
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

}  // namespace
}  // namespace taskwork::map
