// SPDX-License-Identifier: Apache-2.0
//
// libbpf, unchanged, on top of this layer: objects are loaded, run, read and let go.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "defer/task_work.hpp"
#include "map/map.hpp"
#include "uapi/test_host.hpp"
#include "uapi/uapi.hpp"

namespace taskwork::uapi {
namespace {

class Loading : public HostTest {};

TEST_F(Loading, every_kind_of_map_and_program_of_an_object_is_loaded) {
    for (const char* name : {"hash_resume", "array_signal", "sampler", "check_ringbuf"}) {
        TestObject object(name);
        ASSERT_EQ(object.load(), 0) << name << ": " << last_diagnosis() << "\n" << libbpf_log;
    }
}

}  // namespace
}  // namespace taskwork::uapi
