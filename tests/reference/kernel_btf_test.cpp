// SPDX-License-Identifier: Apache-2.0
//
// Our BTF beside the kernel's: a kfunc that both have must have one prototype, or a program that
// loads here does not load there; a field of a task must be found under the same name and of the
// same kind.

#include <bpf/btf.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "../../src/bpf/kernel_btf/task_struct.h"

namespace taskwork::test {
namespace {

class Btf {
public:
    explicit Btf(const std::string& path) : btf_(btf__parse(path.c_str(), nullptr)) {}
    ~Btf() { btf__free(btf_); }
    Btf(const Btf&) = delete;
    Btf& operator=(const Btf&) = delete;

    explicit operator bool() const { return btf_ != nullptr; }
    const btf_type* type(std::uint32_t id) const { return btf__type_by_id(btf_, id); }
    const char* name(std::uint32_t offset) const { return btf__name_by_offset(btf_, offset); }
    std::int32_t find(const std::string& wanted, std::uint32_t kind) const {
        return btf__find_by_name_kind(btf_, wanted.c_str(), kind);
    }
    std::uint32_t types() const { return btf__type_cnt(btf_); }

    /// A type in words; structs by name, functions by their arguments' names and types.
    std::string describe(std::uint32_t id) const {
        const btf_type* at = skip_names(id);
        switch (btf_kind(at)) {
        case BTF_KIND_UNKN:
            return "void";
        case BTF_KIND_INT:
            return std::string(btf_int_encoding(at) & BTF_INT_SIGNED ? "s" : "u") +
                   std::to_string(8 * at->size);
        case BTF_KIND_PTR:
            return "pointer to " + describe(at->type);
        case BTF_KIND_STRUCT:
            return std::string("struct ") + name(at->name_off);
        case BTF_KIND_ARRAY:
            return std::to_string(btf_array(at)->nelems) + " of " + describe(btf_array(at)->type);
        case BTF_KIND_FUNC_PROTO: {
            std::string text = describe(at->type) + " (";
            for (std::uint32_t i = 0; i < btf_vlen(at); ++i) {
                text += std::string(name(btf_params(at)[i].name_off)) + ": " +
                        describe(btf_params(at)[i].type) + ", ";
            }
            return text + ")";
        }
        default:
            return "kind " + std::to_string(btf_kind(at));
        }
    }

    /// Field of a struct, anonymous structs inside included; nullptr if there is none.
    const btf_member* field(const btf_type* of, const std::string& wanted) const {
        for (std::uint32_t i = 0; i < btf_vlen(of); ++i) {
            const btf_member* member = &btf_members(of)[i];
            const std::string member_name = name(member->name_off);
            if (member_name == wanted) {
                return member;
            }
            const btf_type* inside = skip_names(member->type);
            if (member_name.empty() && btf_is_composite(inside)) {
                if (const btf_member* found = field(inside, wanted)) {
                    return found;
                }
            }
        }
        return nullptr;
    }

private:
    const btf_type* skip_names(std::uint32_t id) const {
        const btf_type* at = type(id);
        while (btf_is_mod(at) || btf_is_typedef(at) || btf_is_type_tag(at)) {
            at = type(at->type);
        }
        return at;
    }

    btf* btf_;
};

constexpr const char* kTheirs = "/sys/kernel/btf/vmlinux";
const std::string kOurs = std::string(TASKWORK_TEST_BPF_DIR) + "/kernel_btf.btf";

TEST(KernelBtf, gives_every_kfunc_the_prototype_of_the_kernel) {
    Btf ours(kOurs);
    ASSERT_TRUE(ours) << kOurs;
    if (access(kTheirs, R_OK) != 0) {
        GTEST_SKIP() << "no reference here: the kernel has no BTF (" << kTheirs << ")";
    }
    Btf theirs(kTheirs);
    ASSERT_TRUE(theirs);
    std::vector<std::string> compared;
    for (std::uint32_t id = 1; id < ours.types(); ++id) {
        const btf_type* type = ours.type(id);
        if (!btf_is_func(type)) {
            continue;
        }
        const std::string name = ours.name(type->name_off);
        const std::int32_t their_id = theirs.find(name, BTF_KIND_FUNC);
        if (their_id > 0) {
            EXPECT_EQ(ours.describe(type->type),
                      theirs.describe(theirs.type(static_cast<std::uint32_t>(their_id))->type))
                << name;
            compared.push_back(name);
        }
    }
    // Old enough to be in any kernel that can be asked.
    EXPECT_NE(std::find(compared.begin(), compared.end(), "bpf_task_from_pid"), compared.end());
}

TEST(KernelBtf, names_and_types_fields_of_tasks_as_the_kernel_does) {
    Btf ours(kOurs);
    ASSERT_TRUE(ours) << kOurs;
    if (access(kTheirs, R_OK) != 0) {
        GTEST_SKIP() << "no reference here: the kernel has no BTF (" << kTheirs << ")";
    }
    Btf theirs(kTheirs);
    ASSERT_TRUE(theirs);
    for (const char* name : {"task_struct", "mm_struct", "pt_regs", "bpf_perf_event_data"}) {
        const btf_type* our_type =
            ours.type(static_cast<std::uint32_t>(ours.find(name, BTF_KIND_STRUCT)));
        const btf_type* their_type =
            theirs.type(static_cast<std::uint32_t>(theirs.find(name, BTF_KIND_STRUCT)));
        for (std::uint32_t i = 0; i < btf_vlen(our_type); ++i) {
            const btf_member& member = btf_members(our_type)[i];
            const std::string field = ours.name(member.name_off);
            const btf_member* their_field = theirs.field(their_type, field);
            ASSERT_NE(their_field, nullptr) << name << "." << field;
            EXPECT_EQ(ours.describe(member.type), theirs.describe(their_field->type))
                << name << "." << field;
        }
    }
}

/// What C++ fills in is what programs relocate onto.
TEST(KernelBtf, lays_tasks_out_as_the_runtime_does) {
    Btf ours(kOurs);
    ASSERT_TRUE(ours) << kOurs;
    const btf_type* task =
        ours.type(static_cast<std::uint32_t>(ours.find("task_struct", BTF_KIND_STRUCT)));
    const btf_type* mm =
        ours.type(static_cast<std::uint32_t>(ours.find("mm_struct", BTF_KIND_STRUCT)));
    EXPECT_EQ(task->size, sizeof(task_struct));
    EXPECT_EQ(mm->size, sizeof(mm_struct));
    const std::map<std::string, std::size_t> task_fields = {
        {"pid", offsetof(task_struct, pid)},
        {"tgid", offsetof(task_struct, tgid)},
        {"mm", offsetof(task_struct, mm)},
        {"real_parent", offsetof(task_struct, real_parent)},
        {"parent", offsetof(task_struct, parent)},
        {"group_leader", offsetof(task_struct, group_leader)},
        {"start_time", offsetof(task_struct, start_time)},
        {"start_boottime", offsetof(task_struct, start_boottime)},
        {"comm", offsetof(task_struct, comm)},
    };
    EXPECT_EQ(btf_vlen(task), task_fields.size());
    for (const auto& [name, offset] : task_fields) {
        const btf_member* member = ours.field(task, name);
        ASSERT_NE(member, nullptr) << name;
        EXPECT_EQ(member->offset, 8 * offset) << name;
    }
    EXPECT_EQ(ours.field(mm, "arg_start")->offset, 8 * offsetof(mm_struct, arg_start));
    EXPECT_EQ(ours.field(mm, "env_end")->offset, 8 * offsetof(mm_struct, env_end));
}

}  // namespace
}  // namespace taskwork::test
