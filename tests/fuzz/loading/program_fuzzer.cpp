// SPDX-License-Identifier: Apache-2.0
//
// An input is a BPF_PROG_LOAD, its BTF included (request.hpp). The types are loaded, then the
// program, with ours alone; what is accepted is let go of and never run.
#include <bpf/btf.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unordered_map>

#include "bpf/verifier/verifier.hpp"
#include "host.hpp"
#include "request.hpp"
#include "uapi/descriptors.hpp"
#include "uapi/diagnosis.hpp"
#include "uapi/test_malformed.hpp"
#include "uapi/uapi.hpp"

namespace taskwork::fuzz {
namespace {

/// A million instructions are walked, and a log of each of their states is written, under
/// sanitizers.
constexpr std::uint64_t kCpuNsMax = 60'000'000'000;
constexpr std::uint32_t kInsnsMax = 4096;
constexpr std::uint32_t kInsnsWalkedMax = 4096;

struct Shape {
    std::uint32_t type;
    std::uint32_t key_size;
    std::uint32_t value_size;
    std::uint32_t max_entries;
    std::uint32_t flags = 0;
    bool typed = false;  ///< Its value holds a bpf_task_work, behind 8 bytes.
};
constexpr Shape kShapes[kMaps] = {
    {BPF_MAP_TYPE_HASH, 4, 16, 16, 0, true},
    {BPF_MAP_TYPE_ARRAY, 4, 16, 4, 0, true},
    {BPF_MAP_TYPE_ARRAY, 4, 64, 1},
    {BPF_MAP_TYPE_RINGBUF, 0, 0, 4096},
    {BPF_MAP_TYPE_HASH, 4, 8, 16},
    {BPF_MAP_TYPE_LRU_HASH, 8, 64, 16},
    {BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 4},
    {BPF_MAP_TYPE_QUEUE, 0, 8, 4},
    {BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 4},
    {BPF_MAP_TYPE_STACK_TRACE, 4, 64, 4},
};

long load_types(Bytes bytes) {
    union bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    attr.btf = reinterpret_cast<std::uintptr_t>(bytes.data());
    attr.btf_size = static_cast<std::uint32_t>(bytes.size());
    return call(BPF_BTF_LOAD, attr);
}

void move_descriptor(long from, int to) {
    require(dup3(static_cast<int>(from), to, O_CLOEXEC) == to, "descriptors can be chosen");
    uapi::follow_dup(static_cast<int>(from), to);
    drop(from);
}

/// The maps, then what is none, for instructions that name them by index.
const std::int32_t* descriptors() {
    static const auto all = [] {
        std::array<std::int32_t, kMaps + 2> made{};
        for (std::uint32_t i = 0; i < kMaps; ++i) {
            made[i] = kFirstMapDescriptor + static_cast<std::int32_t>(i);
        }
        made[kMaps] = -1;
        return made;
    }();
    return all.data();
}

/// How far inputs come: said at the end.
struct Reached {
    std::uint64_t inputs = 0;
    std::uint64_t with_types = 0;
    std::uint64_t logged = 0;
    std::uint64_t walked = 0;  ///< Of those: the verifier has begun with them.
    std::uint64_t accepted = 0;
} reached;
void say_reached() {
    std::fprintf(stderr,
                 "fuzz: of %llu programs %llu had types, %llu were accepted; of %llu with a log "
                 "%llu were walked\n",
                 static_cast<unsigned long long>(reached.inputs),
                 static_cast<unsigned long long>(reached.with_types),
                 static_cast<unsigned long long>(reached.accepted),
                 static_cast<unsigned long long>(reached.logged),
                 static_cast<unsigned long long>(reached.walked));
}

/// Types that were asked for lately, and what became of them: few inputs in a row change theirs,
/// and to check types takes longer than most programs do.
class LoadedTypes {
public:
    long load(Bytes bytes) {
        const std::string key(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        const auto found = known_.find(key);
        if (found != known_.end()) {
            return found->second;
        }
        if (known_.size() == kKeptMax) {
            drop_all();
        }
        return known_[key] = load_types(bytes);
    }
    void drop_all() {
        for (const auto& [bytes, descriptor] : known_) {
            if (descriptor >= 0) {
                drop(descriptor);
            }
        }
        known_.clear();
    }

private:
    static constexpr std::size_t kKeptMax = 512;
    std::unordered_map<std::string, long> known_;
};
LoadedTypes& loaded_types() {
    static auto* instance = new LoadedTypes;
    return *instance;
}

void drop_maps() {
    loaded_types().drop_all();
    for (std::uint32_t i = 0; i < kMaps; ++i) {
        drop(kFirstMapDescriptor + static_cast<int>(i));
    }
}

void make_maps() {
    static bool made = false;
    if (made) {
        return;
    }
    made = true;
    uapi::RawBtf btf;
    btf.integer();
    const std::uint32_t wide = btf.type("long", BTF_KIND_INT, 0, 8, {BTF_INT_SIGNED << 24 | 64});
    const std::uint32_t work =
        btf.type("bpf_task_work", BTF_KIND_STRUCT, 1, 8, {btf.name("__opaque"), wide, 0});
    const std::uint32_t value = btf.type("value", BTF_KIND_STRUCT, 2, 16,
                                         {btf.name("count"), wide, 0, btf.name("work"), work, 64});
    const std::vector<std::byte> bytes = btf.bytes();
    const long types = load_types(bytes);
    require(types >= 0, "the maps' types are right");
    for (std::uint32_t i = 0; i < kMaps; ++i) {
        const Shape& shape = kShapes[i];
        union bpf_attr attr;
        std::memset(&attr, 0, sizeof attr);
        attr.map_type = shape.type;
        attr.key_size = shape.key_size;
        attr.value_size = shape.value_size;
        attr.max_entries = shape.max_entries;
        attr.map_flags = shape.flags;
        if (shape.typed) {
            attr.btf_fd = static_cast<std::uint32_t>(types);
            attr.btf_key_type_id = 1;
            attr.btf_value_type_id = value;
        }
        const long map = call(BPF_MAP_CREATE, attr);
        require(map >= 0, "the maps can be made");
        move_descriptor(map, kFirstMapDescriptor + static_cast<int>(i));
    }
    drop(types);
    std::atexit(drop_maps);  // before what is left is counted
    std::atexit(say_reached);
}

}  // namespace

bool run_input(Bytes input) {
    make_maps();
    const Bounds bounds(kCpuNsMax);
    LoadRequest request = LoadRequest::from(input);
    const LoadFields& fields = request.fields;
    const Log log;
    union bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    long types = 0;
    if (fields.has_types != 0) {
        types = loaded_types().load(request.types);
        attr.prog_btf_fd = static_cast<std::uint32_t>(types < 0 ? 0 : types);
    }
    // Tables of their own size, so that a byte behind them is nobody's.
    const std::uint32_t insn_count =
        std::min<std::uint32_t>(static_cast<std::uint32_t>(request.insns.size() / 8), kInsnsMax);
    request.insns.resize(std::size_t{insn_count} * 8);
    const auto count = [](std::size_t bytes, std::uint32_t record, std::int32_t more) {
        return (record == 0 ? 0 : static_cast<std::uint32_t>(bytes / record)) +
               static_cast<std::uint32_t>(more);
    };
    attr.prog_type = fields.type;
    attr.prog_flags = fields.flags;
    attr.expected_attach_type = fields.attach_type;
    attr.insns = reinterpret_cast<std::uintptr_t>(request.insns.data());
    attr.insn_cnt = insn_count;
    attr.license = reinterpret_cast<std::uintptr_t>(fields.licence == 0 ? "GPL" : "MIT");
    attr.fd_array = reinterpret_cast<std::uintptr_t>(descriptors());
    // A log takes longer than the walk, and a long walk as long as thousands of short ones: by its
    // size, one input in sixteen has a log and one in 128 is walked as far as the kernel does.
    const bool logs = input.size() / 8 % 16 == 0;
    uapi::set_insns_processed_max(input.size() / 8 % 128 == 1 ? bpf::verifier::kInsnsProcessedMax
                                                              : kInsnsWalkedMax);
    attr.log_level = logs ? fields.log_level : 0;
    if (attr.log_level != 0) {
        attr.log_buf = log.address();
        attr.log_size = Log::kBytes;
    }
    if (types >= 0) {
        attr.func_info = reinterpret_cast<std::uintptr_t>(request.functions.data());
        attr.func_info_cnt =
            count(request.functions.size(), fields.function_bytes, fields.functions_more);
        attr.func_info_rec_size = fields.function_bytes;
        attr.line_info = reinterpret_cast<std::uintptr_t>(request.lines.data());
        attr.line_info_cnt = count(request.lines.size(), fields.line_bytes, fields.lines_more);
        attr.line_info_rec_size = fields.line_bytes;
    }
    uapi::clear_diagnosis();
    const long program = call(BPF_PROG_LOAD, attr);
    ++reached.inputs;
    reached.with_types += types > 0 ? 1 : 0;
    reached.accepted += program >= 0 ? 1 : 0;
    reached.logged += attr.log_level != 0 ? 1 : 0;
    reached.walked += std::strstr(log.text(), "processed ") != nullptr ? 1 : 0;
    if (program >= 0) {
        drop(program);
        released(1);
        return bounds.is_quick();
    }
    // What the caller got wrong by number alone has no words in the kernel either.
    const bool has_reason = !uapi::last_diagnosis().empty();
    const bool was_looked_at = program != -E2BIG && program != -EFAULT && program != -ENOSPC &&
                               (attr.log_level == 0 ? has_reason : log.text()[0] != '\0');
    require(!was_looked_at || has_reason, "a refusal has a reason");
    require(program != -ENOMEM, "there is memory for each input");
    // Wrong types are the other fuzzer's; and what is refused before it is looked at says little.
    return types > 0 && was_looked_at && bounds.is_quick();
}

}  // namespace taskwork::fuzz
