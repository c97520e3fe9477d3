// SPDX-License-Identifier: Apache-2.0
//
// Types for tests that create maps by hand: a small BTF, made with libbpf's writer and loaded.
#pragma once

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <unistd.h>

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

namespace taskwork::uapi {

class TestTypes {
public:
    struct Member {
        const char* name;
        int type;
        std::uint32_t offset;  ///< Bytes.
    };

    TestTypes() : types_(btf__new_empty()) {
        u32 = btf__add_int(types_, "unsigned int", 4, 0);
        u64 = btf__add_int(types_, "unsigned long long", 8, 0);
        task_work = structure("bpf_task_work", 8, {{"__opaque", u64, 0}});
        spin_lock = structure("bpf_spin_lock", 4, {{"val", u32, 0}});
        res_spin_lock = structure("bpf_res_spin_lock", 4, {{"val", u32, 0}});
    }
    ~TestTypes() {
        if (descriptor_ >= 0) {
            close(descriptor_);
        }
        btf__free(types_);
    }
    TestTypes(const TestTypes&) = delete;
    TestTypes& operator=(const TestTypes&) = delete;

    int structure(const char* name, std::uint32_t size, std::initializer_list<Member> members) {
        const int id = btf__add_struct(types_, name, size);
        for (const Member& member : members) {
            if (btf__add_field(types_, member.name, member.type, member.offset * 8, 0) != 0) {
                throw std::runtime_error(std::string("cannot add ") + member.name);
            }
        }
        return id;
    }
    int array(int element, std::uint32_t count) {
        return btf__add_array(types_, u32, element, count);
    }
    int pointer(int to) { return btf__add_ptr(types_, to); }
    int alias(const char* name, int of) { return btf__add_typedef(types_, name, of); }

    /// The descriptor of the BTF, loaded at the first call.
    int descriptor() {
        if (descriptor_ < 0) {
            std::uint32_t size = 0;
            const void* data = btf__raw_data(types_, &size);
            descriptor_ = bpf_btf_load(data, size, nullptr);
        }
        return descriptor_;
    }
    [[nodiscard]] btf* get() const { return types_; }

    int u32;
    int u64;
    int task_work;
    int spin_lock;
    int res_spin_lock;

private:
    btf* types_;
    int descriptor_ = -1;
};

}  // namespace taskwork::uapi
