// SPDX-License-Identifier: Apache-2.0
//
// Values with special fields that the kernel has and we have not: their maps are refused by name,
// with types and when they are asked for again without.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <thread>

#include "uapi/diagnosis.hpp"
#include "uapi/test_host.hpp"
#include "uapi/test_types.hpp"

namespace taskwork::uapi {
namespace {

using ::testing::HasSubstr;

class AbsentFields : public HostTest {
protected:
    int create(const char* name, int value_type, std::uint32_t value_size) {
        LIBBPF_OPTS(bpf_map_create_opts, options,
                    .btf_fd = static_cast<std::uint32_t>(types_.descriptor()),
                    .btf_key_type_id = static_cast<std::uint32_t>(types_.u32),
                    .btf_value_type_id = static_cast<std::uint32_t>(value_type));
        return closed(bpf_map_create(BPF_MAP_TYPE_ARRAY, name, 4, value_size, 8, &options));
    }
    static int create_plain(const char* name, std::uint32_t value_size) {
        return closed(bpf_map_create(BPF_MAP_TYPE_ARRAY, name, 4, value_size, 8, nullptr));
    }
    /// 0, or negative errno.
    static int closed(int descriptor) {
        if (descriptor < 0) {
            return descriptor;
        }
        close(descriptor);
        return 0;
    }
    int tagged_pointer(const char* tag) {
        return types_.pointer(btf__add_type_tag(types_.get(), tag, object_));
    }
    int value_with(int member, std::uint32_t size, const char* name = "value") {
        return types_.structure(name, size + 8, {{"number", types_.u64, 0}, {"field", member, 8}});
    }

    TestTypes types_;
    int object_ = types_.structure("task_struct", 4, {{"pid", types_.u32, 0}});
};

TEST_F(AbsentFields, are_refused_by_name) {
    const auto opaque = [this](const char* name, std::uint32_t size) {
        return types_.structure(name, size, {{"__opaque", types_.u32, 0}});
    };
    const struct {
        const char* name;
        int value;
        std::uint32_t size;
    } cases[] = {
        {"kptr", value_with(tagged_pointer("kptr"), 8), 16},
        {"kptr", value_with(tagged_pointer("kptr_untrusted"), 8), 16},
        {"percpu_kptr", value_with(tagged_pointer("percpu_kptr"), 8), 16},
        {"uptr", value_with(tagged_pointer("uptr"), 8), 16},
        {"bpf_list_head", value_with(opaque("bpf_list_head", 16), 16), 24},
        {"bpf_rb_root", value_with(opaque("bpf_rb_root", 16), 16), 24},
        {"bpf_refcount", value_with(opaque("bpf_refcount", 4), 8), 16},
        {"kptr", value_with(types_.array(tagged_pointer("kptr"), 2), 16), 24},
        {"kptr", types_.alias("value_t", value_with(tagged_pointer("kptr"), 8)), 16},
    };
    for (const auto& each : cases) {
        EXPECT_EQ(create("absent", each.value, each.size), -EOPNOTSUPP) << each.name;
        EXPECT_EQ(last_diagnosis(),
                  std::string("map 'absent': values with a ") + each.name + " are not supported");
    }
}

TEST_F(AbsentFields, of_other_sizes_tags_and_places_are_plain_data) {
    const struct {
        const char* name;
        int value;
        std::uint32_t size;
    } cases[] = {
        {"size", value_with(types_.structure("bpf_list_head", 8, {{"__opaque", types_.u64, 0}}), 8),
         16},
        {"node", value_with(types_.structure("bpf_rb_node", 8, {{"__opaque", types_.u64, 0}}), 8),
         16},
        {"tag", value_with(tagged_pointer("rcu"), 8), 16},
        {"pointer", value_with(types_.pointer(object_), 8), 16},
        {"place",
         types_.structure("packed", 12,
                          {{"number", types_.u32, 0}, {"field", tagged_pointer("kptr"), 4}}),
         12},
    };
    for (const auto& each : cases) {
        EXPECT_EQ(create(each.name, each.value, each.size), 0) << each.name;
    }
}

// libbpf asks again without types when a map is refused, and programs would find plain data.
TEST_F(AbsentFields, stay_refused_when_the_same_map_is_asked_for_without_types) {
    const int value = value_with(tagged_pointer("kptr"), 8);
    EXPECT_EQ(create_plain("kept", 16), 0);
    EXPECT_EQ(create("kept", value, 16), -EOPNOTSUPP);
    clear_diagnosis();
    EXPECT_EQ(create_plain("kept", 16), -EOPNOTSUPP);
    EXPECT_THAT(last_diagnosis(), HasSubstr("map 'kept': values with a kptr"));
    EXPECT_EQ(create_plain("kept", 16), -EOPNOTSUPP);
    // Another one, and whoever has not asked, may have what he wants.
    EXPECT_EQ(create_plain("other", 16), 0);
    EXPECT_EQ(create_plain("kept", 16), 0);
    EXPECT_EQ(create("kept", value, 16), -EOPNOTSUPP);
    std::thread([] { EXPECT_EQ(create_plain("kept", 16), 0); }).join();
    EXPECT_EQ(create_plain("kept", 16), -EOPNOTSUPP);
}

}  // namespace
}  // namespace taskwork::uapi
