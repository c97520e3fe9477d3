// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/engines/kernel_side.hpp"

#include <bpf/btf.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <stdexcept>

#include "bpf/verifier/log.hpp"
#include "tests/reference/kernel.hpp"

namespace taskwork::fuzz {

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::uint32_t kRingBytes = 4096;
constexpr std::uint32_t kLogBytes = 1 << 16;

constexpr std::int32_t kHelpersShown[] = {BPF_FUNC_map_lookup_elem,
                                          BPF_FUNC_map_update_elem,
                                          BPF_FUNC_map_delete_elem,
                                          BPF_FUNC_for_each_map_elem,
                                          BPF_FUNC_loop,
                                          BPF_FUNC_ringbuf_reserve,
                                          BPF_FUNC_ringbuf_submit,
                                          BPF_FUNC_ringbuf_discard,
                                          BPF_FUNC_ringbuf_output,
                                          BPF_FUNC_ringbuf_query,
                                          BPF_FUNC_get_current_pid_tgid,
                                          BPF_FUNC_get_current_uid_gid,
                                          BPF_FUNC_get_current_comm,
                                          BPF_FUNC_strncmp};

template <class T>
std::uint64_t address(T* to) {
    return reinterpret_cast<std::uintptr_t>(to);
}

bpf_attr no_attr() {
    bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    return attr;
}

int kernel_bpf(int command, bpf_attr& attr) {
    return static_cast<int>(::syscall(SYS_bpf, command, &attr, sizeof attr));
}

/// What must not fail, with its name.
int must(int result, const char* what) {
    if (result < 0) {
        throw std::runtime_error(std::string("the kernel: ") + what + ": " +
                                 std::strerror(errno));  // NOLINT(concurrency-mt-unsafe)
    }
    return result;
}

Descriptor make_map(bpf_map_type type, std::uint32_t value_size, std::uint32_t entries,
                    std::uint32_t flags = 0) {
    bpf_attr attr = no_attr();
    attr.map_type = type;
    attr.key_size = type == BPF_MAP_TYPE_RINGBUF ? 0 : 4;
    attr.value_size = value_size;
    attr.max_entries = entries;
    attr.map_flags = flags;
    return Descriptor(must(kernel_bpf(BPF_MAP_CREATE, attr), "BPF_MAP_CREATE"));
}

/// A command on one element.
int on_element(int command, int map, std::uint32_t key, const void* value) {
    bpf_attr attr = no_attr();
    attr.map_fd = static_cast<std::uint32_t>(map);
    attr.key = address(&key);
    attr.value = address(value);
    return kernel_bpf(command, attr);
}
void update(int map, std::uint32_t key, const void* value) {
    must(on_element(BPF_MAP_UPDATE_ELEM, map, key, value), "BPF_MAP_UPDATE_ELEM");
}

/// The line in front of the statistics, and of the states of a loop without an end.
std::string reason_in(const std::string& log) {
    std::string last;
    for (std::size_t at = 0; at < log.size();) {
        const std::size_t end = std::min(log.find('\n', at), log.size());
        const std::string line = log.substr(at, end - at);
        at = end + 1;
        if (!line.starts_with("processed ") && !line.starts_with("verification time") &&
            !line.starts_with("stack depth") && !line.starts_with("cur state:") &&
            !line.starts_with("old state:") && !line.empty()) {
            last = line;
        }
    }
    return last;
}

void describe(std::string& text, const char* what, const std::uint64_t* one,
              const std::uint64_t* other, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        if (one[i] != other[i]) {
            text += bpf::verifier::text_of("; %s, word %zu: %llx and %llx", what, i,
                                           static_cast<unsigned long long>(one[i]),
                                           static_cast<unsigned long long>(other[i]));
        }
    }
}

}  // namespace

std::string Memory::difference(const Memory& other) const {
    std::string text;
    describe(text, "context", context.data(), other.context.data(), context.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
        describe(text, i == 0 ? "value 0" : "value 1", values[i].data(), other.values[i].data(),
                 values[i].size());
    }
    describe(text, "direct value", direct.data(), other.direct.data(), direct.size());
    describe(text, "constants", constants.data(), other.constants.data(), constants.size());
    for (std::size_t i = 0; i < hash.size(); ++i) {
        const std::string name = "element " + std::to_string(i);
        if (hash[i] && other.hash[i]) {
            describe(text, name.c_str(), hash[i]->data(), other.hash[i]->data(), hash[i]->size());
        } else if (hash[i] || other.hash[i]) {
            text += "; " + name + (hash[i] ? " in the first only" : " in the second only");
        }
    }
    if (records.size() != other.records.size()) {
        text += "; " + std::to_string(records.size()) + " records and " +
                std::to_string(other.records.size());
    }
    for (std::size_t i = 0; i < std::min(records.size(), other.records.size()); ++i) {
        if (records[i] != other.records[i]) {
            text += "; record " + std::to_string(i);
        }
    }
    return text;
}

Descriptor::~Descriptor() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

std::string KernelSide::unavailable_because() {
    // Its verifier warns of itself where the ranges of a number contradict each other, as in
    // branches that are never taken.
    int panics = 0;
    std::ifstream("/proc/sys/kernel/panic_on_warn") >> panics;
    return panics != 0 ? "the kernel panics where it warns" : test::no_reference_because();
}

KernelSide::KernelSide(const std::array<std::uint64_t, 16>& constants)
    : maps_{make_map(BPF_MAP_TYPE_ARRAY, 64, 2), make_map(BPF_MAP_TYPE_HASH, 48, World::kHashKeys),
            make_map(BPF_MAP_TYPE_RINGBUF, 0, kRingBytes), make_map(BPF_MAP_TYPE_ARRAY, 128, 1),
            make_map(BPF_MAP_TYPE_ARRAY, 128, 1, BPF_F_RDONLY_PROG)} {
    fds = {maps_[0].get(), maps_[1].get(), maps_[2].get(), maps_[3].get(), maps_[4].get()};
    update(fds.constants, 0, constants.data());
    bpf_attr attr = no_attr();
    attr.map_fd = static_cast<std::uint32_t>(fds.constants);
    must(kernel_bpf(BPF_MAP_FREEZE, attr), "BPF_MAP_FREEZE");

    void* const consumer = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fds.ring, 0);
    void* const producer =
        ::mmap(nullptr, kPage + 2 * kRingBytes, PROT_READ, MAP_SHARED, fds.ring, kPage);
    must(consumer == MAP_FAILED || producer == MAP_FAILED ? -1 : 0, "mmap of the ring");
    consumer_ = static_cast<std::uint64_t*>(consumer);
    producer_ = static_cast<const std::uint64_t*>(producer);

    const std::unique_ptr<btf, void (*)(btf*)> types(btf__new_empty(), btf__free);
    const auto id = [](int number) { return static_cast<std::uint32_t>(must(number, "types")); };
    const int number = btf__add_int(types.get(), "number", 8, 0);
    const int pair = btf__add_struct(types.get(), "pair", 16);
    btf__add_field(types.get(), "first", number, 0, 0);
    btf__add_field(types.get(), "second", number, 64, 0);
    const int memory = btf__add_ptr(types.get(), pair);
    const auto function = [&](const char* name, btf_func_linkage linkage, int third) {
        const int prototype = btf__add_func_proto(types.get(), number);
        if (third != 0) {
            btf__add_func_param(types.get(), "a", number);
            btf__add_func_param(types.get(), "b", number);
            btf__add_func_param(types.get(), "c", third);
        }
        return id(btf__add_func(types.get(), name, linkage, prototype));
    };
    prototypes_.main = function("main", BTF_FUNC_GLOBAL, 0);
    prototypes_.local = function("local", BTF_FUNC_STATIC, number);
    prototypes_.global_numbers = function("global_numbers", BTF_FUNC_GLOBAL, number);
    prototypes_.global_memory = function("global_memory", BTF_FUNC_GLOBAL, memory);
    id(btf__add_decl_tag(types.get(), "arg:nonnull", static_cast<int>(prototypes_.global_memory),
                         2));
    prototypes_.global_memory_or_null = function("global_memory_or_null", BTF_FUNC_GLOBAL, memory);
    std::uint32_t size = 0;
    const void* const bytes = btf__raw_data(types.get(), &size);
    attr = no_attr();
    attr.btf = address(bytes);
    attr.btf_size = size;
    types_ = Descriptor(must(kernel_bpf(BPF_BTF_LOAD, attr), "BPF_BTF_LOAD"));
}

KernelSide::~KernelSide() {
    ::munmap(consumer_, kPage);
    ::munmap(const_cast<std::uint64_t*>(producer_), kPage + 2 * kRingBytes);
}

bool KernelSide::may_be_shown(const Generated& program) {
    if (program.type != BPF_PROG_TYPE_SYSCALL) {
        return false;
    }
    for (std::size_t i = 0; i < program.insns.size(); ++i) {
        const bpf_insn& insn = program.insns[i];
        if (insn.code == bpf::kLoadImmediate64) {
            if (insn.src_reg != 0 && insn.src_reg != BPF_PSEUDO_MAP_FD &&
                insn.src_reg != BPF_PSEUDO_MAP_VALUE && insn.src_reg != BPF_PSEUDO_FUNC) {
                return false;
            }
            ++i;
        } else if ((BPF_CLASS(insn.code) == BPF_JMP || BPF_CLASS(insn.code) == BPF_JMP32) &&
                   BPF_OP(insn.code) == BPF_CALL && insn.src_reg != BPF_PSEUDO_CALL) {
            const bool is_shown = std::find(std::begin(kHelpersShown), std::end(kHelpersShown),
                                            insn.imm) != std::end(kHelpersShown);
            if (insn.src_reg != 0 || !is_shown) {
                return false;
            }
        }
    }
    return true;
}

int KernelSide::try_load(const Generated& program, std::string* log) const {
    std::vector<bpf_func_info> functions;
    for (const bpf::verifier::FunctionInfo& each : program.functions) {
        std::uint32_t type = functions.empty() ? prototypes_.main : prototypes_.local;
        if (each.is_global) {
            const bpf::verifier::ArgumentInfo& last = each.arguments.back();
            type = last.kind != bpf::verifier::ArgumentInfo::Kind::memory
                       ? prototypes_.global_numbers
                   : last.non_null ? prototypes_.global_memory
                                   : prototypes_.global_memory_or_null;
        }
        functions.push_back({each.insn, type});
    }
    bpf_attr attr = no_attr();
    attr.prog_type = program.type;
    attr.prog_flags = BPF_F_SLEEPABLE;
    attr.insns = address(program.insns.data());
    attr.insn_cnt = static_cast<std::uint32_t>(program.insns.size());
    attr.license = address("GPL");
    attr.prog_btf_fd = static_cast<std::uint32_t>(types_.get());
    attr.func_info = address(functions.data());
    attr.func_info_cnt = static_cast<std::uint32_t>(functions.size());
    attr.func_info_rec_size = sizeof(bpf_func_info);
    if (log != nullptr) {
        log->assign(kLogBytes, '\0');
        attr.log_level = 1;
        attr.log_buf = address(log->data());
        attr.log_size = kLogBytes;
    }
    const int fd = kernel_bpf(BPF_PROG_LOAD, attr);
    if (log != nullptr) {
        log->resize(std::strlen(log->c_str()));
    }
    return fd;
}

KernelSide::Loaded KernelSide::load(const Generated& program) {
    if (const int fd = try_load(program, nullptr); fd >= 0) {
        return {Descriptor(fd), {}, {}};
    }
    std::string log;
    const Descriptor loaded(try_load(program, &log));
    std::string reason = loaded ? "refused only the first time" : reason_in(log);
    return {Descriptor(), std::move(reason), std::move(log)};
}

void KernelSide::put(const Memory& memory) const {
    for (std::uint32_t key = 0; key < memory.values.size(); ++key) {
        update(fds.values, key, memory.values[key].data());
    }
    update(fds.direct, 0, memory.direct.data());
    for (std::uint32_t key = 0; key < memory.hash.size(); ++key) {
        if (memory.hash[key]) {
            update(fds.hash, key, memory.hash[key]->data());
        } else if (on_element(BPF_MAP_DELETE_ELEM, fds.hash, key, nullptr) < 0 && errno != ENOENT) {
            must(-1, "BPF_MAP_DELETE_ELEM");
        }
    }
}

void KernelSide::take(Memory& memory) {
    const auto look_up = [](int map, std::uint32_t key, void* value) {
        must(on_element(BPF_MAP_LOOKUP_ELEM, map, key, value), "BPF_MAP_LOOKUP_ELEM");
    };
    for (std::uint32_t key = 0; key < memory.values.size(); ++key) {
        look_up(fds.values, key, memory.values[key].data());
    }
    look_up(fds.direct, 0, memory.direct.data());
    look_up(fds.constants, 0, memory.constants.data());
    for (std::uint32_t key = 0; key < memory.hash.size(); ++key) {
        Memory::Element element;
        if (on_element(BPF_MAP_LOOKUP_ELEM, fds.hash, key, element.data()) == 0) {
            memory.hash[key] = element;
        } else {
            must(errno == ENOENT ? 0 : -1, "BPF_MAP_LOOKUP_ELEM");
            memory.hash[key].reset();
        }
    }
    take_records(memory.records);
}

/// All that were made; the execution is over, so none is busy.
void KernelSide::take_records(std::vector<Memory::Record>& records) {
    records.clear();
    const std::uint64_t end = __atomic_load_n(producer_, __ATOMIC_ACQUIRE);
    const auto* const data = reinterpret_cast<const std::uint8_t*>(producer_) + kPage;
    std::uint64_t at = __atomic_load_n(consumer_, __ATOMIC_RELAXED);
    while (at < end) {
        const std::uint8_t* const header = data + at % kRingBytes;
        std::uint32_t length = 0;
        std::memcpy(&length, header, sizeof length);
        must((length & BPF_RINGBUF_BUSY_BIT) == 0 ? 0 : -1, "a record is busy");
        const bool is_discarded = (length & BPF_RINGBUF_DISCARD_BIT) != 0;
        length &= ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
        if (!is_discarded) {
            records.emplace_back(header + BPF_RINGBUF_HDR_SZ, header + BPF_RINGBUF_HDR_SZ + length);
        }
        at += (length + BPF_RINGBUF_HDR_SZ + 7) / 8 * 8;
    }
    __atomic_store_n(consumer_, at, __ATOMIC_RELEASE);
}

std::optional<std::uint32_t> KernelSide::run(const Descriptor& program, Memory& memory) {
    put(memory);
    bpf_attr attr = no_attr();
    attr.test.prog_fd = static_cast<std::uint32_t>(program.get());
    attr.test.ctx_in = address(memory.context.data());
    attr.test.ctx_size_in = Memory::kContextBytes;
    const int result = kernel_bpf(BPF_PROG_TEST_RUN, attr);
    take(memory);  // The context is written back where it came from.
    return result == 0 ? std::optional(attr.test.retval) : std::nullopt;
}

}  // namespace taskwork::fuzz
