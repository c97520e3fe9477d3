// SPDX-License-Identifier: Apache-2.0
//
// The programs of tests/bpf/spin_locks.bpf.c here: those that the kernel accepts do the same; the
// others are refused in the same words. And values with locks of
// either kind, with slots for works, timers and work queues beside the kernel's: what BTF, map
// creation and every command say.

#include "tests/bpf/spin_locks.hpp"

#include <bpf/btf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "tests/conformance/maps.hpp"
#include "uapi/uapi.hpp"

namespace taskwork::test {
namespace {

class SpinLocksHere : public uapi::HostTest, public testing::WithParamInterface<LockProgram> {};

TEST_P(SpinLocksHere, do_what_they_do_in_the_kernel_or_are_refused_as_there) {
    const LockProgram& program = GetParam();
    const LockObject object(program);
    // Resilient ones are accepted in events here.
    const bool accepted =
        program.refused == nullptr || std::string(program.name) == "resilient_in_event";
    if (!accepted) {
        EXPECT_EQ(object.load_error(), program.error);
        EXPECT_NE(object.log().find(program.refused), std::string::npos) << object.log();
        return;
    }
    ASSERT_EQ(object.load_error(), 0) << object.log();
    const bpf::Program* loaded = uapi::program_of(object.descriptor());
    ASSERT_NE(loaded, nullptr);
    for (unsigned run = 0; run < 2 && !program.for_events; ++run) {  // No lock stays behind.
        EXPECT_EQ(object.run(), program.result);
        EXPECT_EQ(loaded->faults.load(std::memory_order_relaxed), 0u);
    }
}

INSTANTIATE_TEST_SUITE_P(Programs, SpinLocksHere, testing::ValuesIn(kLockPrograms),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

// ---- Values beside the kernel's -----------------------------------------------------------------

std::uint64_t address(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

struct Types {
    btf* all = btf__new_empty();
    int u32 = btf__add_int(all, "unsigned int", 4, 0);
    int u64 = btf__add_int(all, "unsigned long long", 8, 0);

    Types() = default;
    ~Types() { btf__free(all); }
    Types(const Types&) = delete;
    Types& operator=(const Types&) = delete;

    struct Member {
        int type;
        std::uint32_t offset;
    };
    int structure(const char* name, std::uint32_t size, std::initializer_list<Member> members) {
        const int id = btf__add_struct(all, name, size);
        int number = 0;
        for (const Member& member : members) {
            btf__add_field(all, ("m" + std::to_string(number++)).c_str(), member.type,
                           static_cast<int>(member.offset) * 8, 0);
        }
        return id;
    }
    int spin() { return structure("bpf_spin_lock", 4, {{u32, 0}}); }
    int resilient() { return structure("bpf_res_spin_lock", 4, {{u32, 0}}); }
    int work() { return structure("bpf_task_work", 8, {{u64, 0}}); }
    int timer() { return structure("bpf_timer", 16, {{u64, 0}, {u64, 8}}); }
    int workqueue() { return structure("bpf_wq", 16, {{u64, 0}, {u64, 8}}); }
    int array(int of, std::uint32_t count) { return btf__add_array(all, u32, of, count); }
};

/// A value of 24 bytes or more.
struct ValueType {
    const char* name;
    int (*make)(Types& types);
};

void PrintTo(const ValueType& value, std::ostream* out) { *out << value.name; }

class SpecialValues : public uapi::HostTest, public testing::WithParamInterface<ValueType> {
protected:
    void SetUp() override {
        HostTest::SetUp();
        if (const std::string reason = no_reference_because(); !reason.empty()) {
            GTEST_SKIP() << "not here: " << reason;
        }
        value_ = GetParam().make(types_);
    }
    void TearDown() override {
        for (const long descriptor : kernel_) {
            raw_system_call(SYS_close, descriptor);
        }
        for (const long descriptor : ours_) {
            close(static_cast<int>(descriptor));
        }
    }

    /// What both say; a descriptor is 0 here, and kept.
    long load_types(Bpf bpf) {
        std::uint32_t size = 0;
        const void* data = btf__raw_data(types_.all, &size);
        bpf_attr attr;
        std::memset(&attr, 0, sizeof attr);
        attr.btf = address(data);
        attr.btf_size = size;
        btf_of(bpf) = bpf(BPF_BTF_LOAD, attr);
        return kept(bpf, btf_of(bpf));
    }
    long create(Bpf bpf, bpf_map_type type, std::uint32_t key_size, std::uint32_t flags,
                long* map = nullptr) {
        bpf_attr attr;
        std::memset(&attr, 0, sizeof attr);
        attr.map_type = type;
        attr.key_size = key_size;
        attr.value_size = value_size();
        attr.max_entries = 2;
        attr.map_flags = flags;
        attr.btf_fd = static_cast<std::uint32_t>(btf_of(bpf));
        attr.btf_key_type_id = static_cast<std::uint32_t>(key_size == 0   ? 0
                                                          : key_size == 4 ? types_.u32
                                                                          : types_.u64);
        attr.btf_value_type_id = static_cast<std::uint32_t>(value_);
        const long result = bpf(BPF_MAP_CREATE, attr);
        if (map != nullptr) {
            *map = result;
        }
        return kept(bpf, result);
    }
    /// Every command on a fresh map; the results, and what came back.
    std::vector<std::uint64_t> ask(Bpf bpf, bpf_map_type type) {
        long map = -1;
        std::vector<std::uint64_t> answers{
            static_cast<std::uint64_t>(create(bpf, type, 4, 0, &map))};
        const auto run = [&](int command, std::uint64_t flags) {
            const std::uint32_t key = 1;
            std::uint64_t value[kWordsMax] = {1, 0xdeaddeaddeaddead, 3, 4, 5, 6};
            bpf_attr attr;
            std::memset(&attr, 0, sizeof attr);
            attr.map_fd = static_cast<std::uint32_t>(map);
            if (command != BPF_MAP_FREEZE) {
                attr.key = address(&key);
                attr.value = address(value);
                attr.flags = flags;
            }
            answers.push_back(static_cast<std::uint64_t>(bpf(command, attr)));
            answers.insert(answers.end(), value, value + value_size() / 8);
        };
        run(BPF_MAP_UPDATE_ELEM, 0);
        for (const std::uint64_t lock : {std::uint64_t{0}, std::uint64_t{BPF_F_LOCK}}) {
            run(BPF_MAP_LOOKUP_ELEM, lock);
            run(BPF_MAP_UPDATE_ELEM, lock);
            run(BPF_MAP_UPDATE_ELEM, lock | BPF_EXIST);
            run(BPF_MAP_UPDATE_ELEM, lock | BPF_NOEXIST);
            run(BPF_MAP_LOOKUP_ELEM, lock);
            run(BPF_MAP_LOOKUP_AND_DELETE_ELEM, lock);
        }
        run(BPF_MAP_FREEZE, 0);
        return answers;
    }

    static constexpr std::size_t kWordsMax = 6;
    std::uint32_t value_size() const {
        const std::int64_t size = btf__resolve_size(types_.all, value_);
        EXPECT_LE(size, kWordsMax * 8);
        return static_cast<std::uint32_t>(size);
    }
    long& btf_of(Bpf bpf) { return bpf == our_bpf ? our_btf_ : kernel_btf_; }
    long kept(Bpf bpf, long result) {
        if (result >= 0) {
            (bpf == our_bpf ? ours_ : kernel_).push_back(result);
        }
        return result < 0 ? result : 0;
    }

    Types types_;
    int value_ = 0;
    long our_btf_ = -1;
    long kernel_btf_ = -1;
    std::vector<long> ours_;
    std::vector<long> kernel_;
};

TEST_P(SpecialValues, are_taken_and_refused_as_by_the_kernel) {
    ASSERT_EQ(load_types(our_bpf), load_types(kernel_bpf));
    if (kernel_btf_ < 0) {
        return;
    }
    struct Kind {
        bpf_map_type type;
        std::uint32_t key_size;
        std::uint32_t flags;
    };
    for (const Kind& kind :
         {Kind{BPF_MAP_TYPE_ARRAY, 4, 0}, Kind{BPF_MAP_TYPE_HASH, 4, 0},
          Kind{BPF_MAP_TYPE_HASH, 4, BPF_F_NO_PREALLOC},
          Kind{BPF_MAP_TYPE_ARRAY, 4, BPF_F_MMAPABLE},
          Kind{BPF_MAP_TYPE_ARRAY, 4, BPF_F_RDONLY_PROG},
          Kind{BPF_MAP_TYPE_HASH, 4, BPF_F_WRONLY_PROG}, Kind{BPF_MAP_TYPE_PERCPU_ARRAY, 4, 0},
          Kind{BPF_MAP_TYPE_PERCPU_HASH, 4, 0}, Kind{BPF_MAP_TYPE_QUEUE, 0, 0},
          Kind{BPF_MAP_TYPE_STACK, 0, 0}, Kind{BPF_MAP_TYPE_BLOOM_FILTER, 0, 0},
          Kind{BPF_MAP_TYPE_LPM_TRIE, 8, BPF_F_NO_PREALLOC}, Kind{BPF_MAP_TYPE_LRU_HASH, 4, 0},
          Kind{BPF_MAP_TYPE_LRU_HASH, 4, BPF_F_NO_COMMON_LRU},
          Kind{BPF_MAP_TYPE_LRU_PERCPU_HASH, 4, 0}, Kind{BPF_MAP_TYPE_STACK_TRACE, 4, 0},
          Kind{BPF_MAP_TYPE_HASH, 4, BPF_F_RDONLY}, Kind{BPF_MAP_TYPE_RINGBUF, 0, 0}}) {
        EXPECT_EQ(create(our_bpf, kind.type, kind.key_size, kind.flags),
                  create(kernel_bpf, kind.type, kind.key_size, kind.flags))
            << "type " << kind.type << ", flags " << kind.flags;
    }
    for (const bpf_map_type type : {BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH}) {
        EXPECT_EQ(ask(our_bpf, type), ask(kernel_bpf, type)) << "type " << type;
    }
}

/// { u64; ... }, 24 bytes.
int value(Types& types, std::initializer_list<Types::Member> members) {
    return types.structure("value", 24, members);
}

const ValueType kValues[] = {
    {"work", [](Types& t) { return value(t, {{t.u64, 0}, {t.work(), 8}, {t.u64, 16}}); }},
    {"two_works",
     [](Types& t) {
         const int work = t.work();
         return value(t, {{t.u64, 0}, {work, 8}, {work, 16}});
     }},
    {"array_of_one_work",
     [](Types& t) { return value(t, {{t.u64, 0}, {t.array(t.work(), 1), 8}}); }},
    {"array_of_two_works",
     [](Types& t) { return value(t, {{t.u64, 0}, {t.array(t.work(), 2), 8}}); }},
    {"misaligned_work", [](Types& t) { return value(t, {{t.u64, 0}, {t.work(), 12}}); }},
    {"large_work",
     [](Types& t) {
         const int large = t.structure("bpf_task_work", 16, {{t.u64, 0}, {t.u64, 8}});
         return value(t, {{t.u64, 0}, {large, 8}});
     }},
    {"small_work",
     [](Types& t) {
         return value(t, {{t.u64, 0}, {t.structure("bpf_task_work", 4, {{t.u32, 0}}), 8}});
     }},
    {"pointer_to_work",
     [](Types& t) { return value(t, {{t.u64, 0}, {btf__add_ptr(t.all, t.work()), 8}}); }},
    {"nested_work",
     [](Types& t) {
         return value(t, {{t.u64, 0}, {t.structure("inner", 16, {{t.u64, 0}, {t.work(), 8}}), 8}});
     }},
    {"spin", [](Types& t) { return value(t, {{t.u64, 0}, {t.spin(), 8}, {t.u64, 16}}); }},
    {"resilient", [](Types& t) { return value(t, {{t.u64, 0}, {t.resilient(), 8}, {t.u64, 16}}); }},
    {"spin_and_work",
     [](Types& t) { return value(t, {{t.u64, 0}, {t.spin(), 8}, {t.work(), 16}}); }},
    {"resilient_and_work",
     [](Types& t) { return value(t, {{t.u64, 0}, {t.resilient(), 8}, {t.work(), 16}}); }},
    {"both", [](Types& t) { return value(t, {{t.u64, 0}, {t.spin(), 8}, {t.resilient(), 12}}); }},
    {"two_spins",
     [](Types& t) {
         const int lock = t.spin();
         return value(t, {{t.u64, 0}, {lock, 8}, {lock, 12}});
     }},
    {"two_resilients",
     [](Types& t) {
         const int lock = t.resilient();
         return value(t, {{t.u64, 0}, {lock, 8}, {lock, 12}});
     }},
    {"misaligned_spin", [](Types& t) { return value(t, {{t.u64, 0}, {t.spin(), 10}}); }},
    {"misaligned_resilient", [](Types& t) { return value(t, {{t.u64, 0}, {t.resilient(), 10}}); }},
    {"large_spin",
     [](Types& t) {
         return value(t, {{t.u64, 0}, {t.structure("bpf_spin_lock", 8, {{t.u64, 0}}), 8}});
     }},
    {"large_resilient",
     [](Types& t) {
         return value(t, {{t.u64, 0}, {t.structure("bpf_res_spin_lock", 8, {{t.u64, 0}}), 8}});
     }},
    {"array_of_one_spin",
     [](Types& t) { return value(t, {{t.u64, 0}, {t.array(t.spin(), 1), 8}}); }},
    {"array_of_two_spins",
     [](Types& t) { return value(t, {{t.u64, 0}, {t.array(t.spin(), 2), 8}}); }},
    {"array_of_two_resilients",
     [](Types& t) { return value(t, {{t.u64, 0}, {t.array(t.resilient(), 2), 8}}); }},
    {"nested_spin",
     [](Types& t) {
         return value(t, {{t.u64, 0}, {t.structure("inner", 8, {{t.u32, 0}, {t.spin(), 4}}), 8}});
     }},
    {"nested_both",
     [](Types& t) {
         return value(t, {{t.u64, 0},
                          {t.structure("inner", 8, {{t.u32, 0}, {t.spin(), 4}}), 8},
                          {t.resilient(), 16}});
     }},
    {"two_works_and_spin",
     [](Types& t) {
         const int work = t.work();
         return value(t, {{t.spin(), 0}, {work, 8}, {work, 16}});
     }},
    {"timer", [](Types& t) { return value(t, {{t.u64, 0}, {t.timer(), 8}}); }},
    {"workqueue", [](Types& t) { return value(t, {{t.u64, 0}, {t.workqueue(), 8}}); }},
    {"timer_before_work", [](Types& t) { return value(t, {{t.timer(), 0}, {t.work(), 16}}); }},
    {"workqueue_after_spin",
     [](Types& t) { return value(t, {{t.spin(), 0}, {t.workqueue(), 8}}); }},
    {"timer_workqueue_work_and_resilient",
     [](Types& t) {
         return t.structure(
             "value", 48,
             {{t.timer(), 0}, {t.work(), 16}, {t.workqueue(), 24}, {t.resilient(), 40}});
     }},
    {"two_timers",
     [](Types& t) {
         const int timer = t.timer();
         return t.structure("value", 40, {{t.u64, 0}, {timer, 8}, {timer, 24}});
     }},
    {"array_of_one_timer",
     [](Types& t) { return value(t, {{t.u64, 0}, {t.array(t.timer(), 1), 8}}); }},
    {"array_of_two_workqueues",
     [](Types& t) {
         return t.structure("value", 40, {{t.u64, 0}, {t.array(t.workqueue(), 2), 8}});
     }},
    {"misaligned_timer", [](Types& t) { return value(t, {{t.u32, 0}, {t.timer(), 4}}); }},
    {"small_timer",
     [](Types& t) {
         return value(t, {{t.u64, 0}, {t.structure("bpf_timer", 8, {{t.u64, 0}}), 8}});
     }},
    {"pointer_to_workqueue",
     [](Types& t) { return value(t, {{t.u64, 0}, {btf__add_ptr(t.all, t.workqueue()), 8}}); }},
    {"nested_timer",
     [](Types& t) {
         return value(t, {{t.u64, 0}, {t.structure("inner", 16, {{t.timer(), 0}}), 8}});
     }},
};

INSTANTIATE_TEST_SUITE_P(Values, SpecialValues, testing::ValuesIn(kValues),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

}  // namespace
}  // namespace taskwork::test
