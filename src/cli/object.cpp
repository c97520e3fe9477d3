// SPDX-License-Identifier: Apache-2.0
#include "cli/object.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gelf.h>
#include <linux/perf_event.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <utility>

#include "cli/btf_value.hpp"
#include "map/ring_buffer.hpp"
#include "uapi/uapi.hpp"

namespace taskwork::cli {

namespace {

/// Larger than any object that makes sense; keeps a mistaken path from filling memory.
constexpr off_t kFileSizeMax = 256 << 20;

/// libbpf's messages: kept, since the first warning says what is wrong, and shown if wanted.
struct Messages {
    std::vector<std::string> warnings;
    bool show = false;
};
Messages& messages() {
    static auto* instance = new Messages;
    return *instance;
}

int print_message(libbpf_print_level level, const char* format, va_list arguments) {
    if (level == LIBBPF_DEBUG) {
        return 0;
    }
    char* text = nullptr;
    const int size = ::vasprintf(&text, format, arguments);
    if (size < 0) {
        return 0;
    }
    std::string line(text, static_cast<std::size_t>(size));
    std::free(text);
    while (!line.empty() && line.back() == '\n') {
        line.pop_back();
    }
    if (messages().show) {
        fmt::print(stderr, "{}\n", line);
    }
    if (level == LIBBPF_WARN) {
        constexpr std::string_view prefix = "libbpf: ";
        messages().warnings.push_back(line.starts_with(prefix) ? line.substr(prefix.size()) : line);
    }
    return size;
}

/// Text on one line.
std::string one_line(std::string text) {
    const std::size_t end = text.find('\n');
    return end == std::string::npos ? text : text.substr(0, end);
}

/// Why libbpf failed: what our bpf(2) said, if it was a call of it that failed, else libbpf's first
/// warning, else the number.
std::string why_failed(int error) {
    const std::string diagnosis = uapi::last_diagnosis();
    bool call_failed = false;
    for (const std::string& warning : messages().warnings) {
        call_failed = call_failed || warning.find("BPF program load failed") != std::string::npos ||
                      warning.find("failed to create") != std::string::npos ||
                      warning.find("failed to attach") != std::string::npos;
    }
    if (call_failed && !diagnosis.empty()) {
        return one_line(diagnosis);
    }
    if (!messages().warnings.empty()) {
        return one_line(messages().warnings.front());
    }
    return diagnosis.empty() ? std::strerror(error) : one_line(diagnosis);
}

Result<std::vector<char>> read_whole(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return Error{last_errc(), fmt::format("{}: {}", path, std::strerror(errno))};
    }
    struct stat status{};
    ::fstat(fd, &status);
    std::string refusal;
    if (S_ISDIR(status.st_mode)) {
        refusal = "is a directory";
    } else if (status.st_size > kFileSizeMax) {
        refusal = "too large for a BPF object";
    }
    std::vector<char> bytes;
    while (refusal.empty() && bytes.size() <= static_cast<std::size_t>(kFileSizeMax)) {
        const std::size_t before = bytes.size();
        bytes.resize(before + 65536);
        const ssize_t got = ::read(fd, bytes.data() + before, 65536);
        if (got < 0) {
            refusal = std::strerror(errno);
        }
        bytes.resize(before + static_cast<std::size_t>(got > 0 ? got : 0));
        if (got <= 0) {
            break;
        }
    }
    ::close(fd);
    if (!refusal.empty()) {
        return Error{std::errc::invalid_argument, fmt::format("{}: {}", path, refusal)};
    }
    return bytes;
}

bool has_section(const std::vector<char>& bytes, std::string_view wanted) {
    ::elf_version(EV_CURRENT);
    Elf* elf = ::elf_memory(const_cast<char*>(bytes.data()), bytes.size());
    std::size_t names = 0;
    bool found = false;
    if (elf != nullptr && ::elf_getshdrstrndx(elf, &names) == 0) {
        for (Elf_Scn* section = ::elf_nextscn(elf, nullptr); section != nullptr && !found;
             section = ::elf_nextscn(elf, section)) {
            GElf_Shdr header;
            const char* name = ::gelf_getshdr(section, &header) != nullptr
                                   ? ::elf_strptr(elf, names, header.sh_name)
                                   : nullptr;
            found = name != nullptr && wanted == name;
        }
    }
    ::elf_end(elf);
    return found;
}

/// What is wrong with the file as such; empty if nothing.
std::string what_is_wrong(const std::vector<char>& bytes) {
    Elf64_Ehdr header;
    if (bytes.size() < sizeof header || std::memcmp(bytes.data(), ELFMAG, SELFMAG) != 0) {
        return "not an ELF file";
    }
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_BPF) {
        return fmt::format("not a BPF object (ELF machine {}; compile with clang -target bpf)",
                           header.e_machine);
    }
    if (header.e_ident[EI_DATA] != ELFDATA2LSB) {
        return "a big-endian BPF object; this machine needs a little-endian one";
    }
    if (header.e_type != ET_REL) {
        return "not a relocatable BPF object";
    }
    if (!has_section(bytes, ".BTF")) {
        return "has no BTF (compile with clang -g)";
    }
    return {};
}

/// A ring buffer has no type for its records in BTF. By convention: the struct with the map's name,
/// or that name and "_record"; 0 if there is neither.
std::uint32_t record_type(const btf* types, const std::string& map) {
    for (const std::string& candidate : {map + "_record", map}) {
        const int id = btf__find_by_name_kind(types, candidate.c_str(), BTF_KIND_STRUCT);
        if (id > 0) {
            return static_cast<std::uint32_t>(id);
        }
    }
    return 0;
}

/// Else: the one named struct of the record's size, if there is exactly one.
std::uint32_t record_type_by_size(const btf* types, std::size_t size) {
    std::uint32_t found = 0;
    for (std::uint32_t id = 1; id < btf__type_cnt(types); ++id) {
        const btf_type* type = btf__type_by_id(types, id);
        if (btf_is_struct(type) && type->name_off != 0 && type->size == size) {
            if (found != 0) {
                return 0;
            }
            found = id;
        }
    }
    return found;
}

perf_event_attr to_perf(const event::EventAttributes& attributes) {
    perf_event_attr attr{};
    attr.size = sizeof attr;
    if (attributes.source == event::Source::cpu_cycles) {
        attr.type = PERF_TYPE_HARDWARE;
        attr.config = PERF_COUNT_HW_CPU_CYCLES;
    } else {
        attr.type = PERF_TYPE_SOFTWARE;
        attr.config = PERF_COUNT_SW_CPU_CLOCK;
    }
    if (attributes.frequency != 0) {
        attr.freq = 1;
        attr.sample_freq = attributes.frequency;
    } else {
        attr.sample_period = attributes.period;
    }
    attr.exclude_kernel = 1;
    attr.exclude_hv = 1;
    attr.disabled = 1;
    return attr;
}

void describe_programs(bpf_object* object, std::string& others, unsigned& perf_event_programs) {
    bpf_program* program = nullptr;
    while ((program = bpf_object__next_program(object, program)) != nullptr) {
        const bpf_prog_type type = bpf_program__type(program);
        if (type == BPF_PROG_TYPE_PERF_EVENT) {
            ++perf_event_programs;
            continue;
        }
        const char* name = libbpf_bpf_prog_type_str(type);
        others += fmt::format("{}{} is SEC(\"{}\") of type {}", others.empty() ? "" : ", ",
                              bpf_program__name(program), bpf_program__section_name(program),
                              name == nullptr || type == BPF_PROG_TYPE_UNSPEC ? "unknown" : name);
    }
}

}  // namespace

struct Object::State {
    struct Ring {
        bpf_map* map = nullptr;
        map::Map* ring = nullptr;
        std::uint32_t type_id = 0;  ///< Of its records; 0: unknown.
        RingReport report;
    };
    std::string path;
    bpf_object* object = nullptr;
    std::vector<bpf_link*> links;
    std::vector<Ring> rings;

    ~State() { close(); }
    void close() noexcept {
        for (bpf_link* link : links) {
            bpf_link__destroy(link);
        }
        links.clear();
        rings.clear();
        bpf_object__close(std::exchange(object, nullptr));
    }
};

Object::Object(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Object::Object(Object&&) noexcept = default;
Object& Object::operator=(Object&&) noexcept = default;
Object::~Object() = default;

Result<Object> Object::open(const std::string& path, bool verbose) {
    auto bytes = read_whole(path);
    if (!bytes) {
        return bytes.error();
    }
    if (const std::string wrong = what_is_wrong(*bytes); !wrong.empty()) {
        return Error{std::errc::executable_format_error, path + ": " + wrong};
    }

    libbpf_set_print(print_message);
    messages() = Messages{{}, verbose};
    uapi::clear_diagnosis();
    auto state = std::make_unique<State>();
    state->path = path;
    // Maps of the object's data are named after it, up to the first dot.
    std::string name = path.substr(path.rfind('/') + 1);
    name = name.substr(0, name.find('.'));
    LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = name.c_str());
    state->object = bpf_object__open_mem(bytes->data(), bytes->size(), &options);
    if (state->object == nullptr) {
        return Error{last_errc(), path + ": cannot be opened: " + why_failed(errno)};
    }
    std::string others;
    unsigned perf_event_programs = 0;
    describe_programs(state->object, others, perf_event_programs);
    if (perf_event_programs == 0) {
        return Error{std::errc::invalid_argument,
                     fmt::format("{}: no perf_event program in it{}{}", path,
                                 others.empty() ? "" : ": ", others)};
    }
    return Object(std::move(state));
}

unsigned Object::descriptors() const noexcept {
    unsigned count = 0;
    for (bpf_map* map = nullptr; (map = bpf_object__next_map(state_->object, map)) != nullptr;) {
        count += 1;
    }
    for (bpf_program* program = nullptr;
         (program = bpf_object__next_program(state_->object, program)) != nullptr;) {
        count += 3;  // itself, its attachment, its event of a thread
    }
    return count;
}

unsigned Object::programs() const noexcept {
    unsigned count = 0;
    for (bpf_program* program = nullptr;
         (program = bpf_object__next_program(state_->object, program)) != nullptr;) {
        count +=
            bpf_program__type(program) == BPF_PROG_TYPE_PERF_EVENT && bpf_program__autoload(program)
                ? 1
                : 0;
    }
    return count;
}

Result<void> Object::load() {
    messages().warnings.clear();
    uapi::clear_diagnosis();
    if (const int error = bpf_object__load(state_->object); error != 0) {
        return Error{static_cast<std::errc>(-error),
                     state_->path + ": cannot be loaded: " + why_failed(-error)};
    }
    bpf_map* map = nullptr;
    while ((map = bpf_object__next_map(state_->object, map)) != nullptr) {
        if (bpf_map__type(map) != BPF_MAP_TYPE_RINGBUF || bpf_map__fd(map) < 0) {
            continue;
        }
        State::Ring ring;
        ring.map = map;
        ring.ring = uapi::map_of(bpf_map__fd(map));
        ring.type_id = record_type(bpf_object__btf(state_->object), bpf_map__name(map));
        state_->rings.push_back(ring);
    }
    return {};
}

Result<void> Object::attach(const event::EventAttributes& attributes) {
    bpf_program* program = nullptr;
    LIBBPF_OPTS(bpf_perf_event_opts, options);
    for (std::uint64_t index = 0;
         (program = bpf_object__next_program(state_->object, program)) != nullptr; ++index) {
        if (bpf_program__type(program) != BPF_PROG_TYPE_PERF_EVENT ||
            bpf_program__fd(program) < 0) {
            continue;
        }
        options.bpf_cookie = index;
        messages().warnings.clear();
        uapi::clear_diagnosis();
        perf_event_attr attr = to_perf(attributes);
        // Ours by the linker's --wrap, like every call of libbpf: stands for all threads of
        // members.
        const auto fd = static_cast<int>(
            ::syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC));
        bpf_link* link =
            fd < 0 ? nullptr : bpf_program__attach_perf_event_opts(program, fd, &options);
        if (link == nullptr) {
            const int error = errno;
            if (fd >= 0) {
                ::close(fd);
            }
            return Error{static_cast<std::errc>(error),
                         fmt::format("{}: {} cannot be attached: {}", state_->path,
                                     bpf_program__name(program), why_failed(error))};
        }
        state_->links.push_back(link);
    }
    return {};
}

void Object::detach() noexcept {
    for (bpf_link* link : state_->links) {
        bpf_link__destroy(link);
    }
    state_->links.clear();
}

bool Object::has_rings() const noexcept { return !state_->rings.empty(); }

void Object::consume_rings(bool print) {
    struct Sink {
        State::Ring* ring;
        const btf* types;
        bool print;
    };
    for (State::Ring& ring : state_->rings) {
        Sink sink{&ring, bpf_object__btf(state_->object), print};
        map::ring_consume(
            *ring.ring,
            [](void* argument, void* data, std::size_t size) -> long {
                auto& to = *static_cast<Sink*>(argument);
                to.ring->report.records += 1;
                to.ring->report.bytes += size;
                if (to.print) {
                    const std::uint32_t type = to.ring->type_id != 0
                                                   ? to.ring->type_id
                                                   : record_type_by_size(to.types, size);
                    fmt::print(stderr, "{}: {}\n", bpf_map__name(to.ring->map),
                               to_json_text(btf_value(to.types, type, data, size)));
                }
                return 0;
            },
            &sink);
    }
}

std::vector<ProgramReport> Object::program_reports() const {
    std::vector<ProgramReport> reports;
    bpf_program* program = nullptr;
    while ((program = bpf_object__next_program(state_->object, program)) != nullptr) {
        const bpf::Program* loaded =
            bpf_program__fd(program) < 0 ? nullptr : uapi::program_of(bpf_program__fd(program));
        if (loaded == nullptr || bpf_program__type(program) != BPF_PROG_TYPE_PERF_EVENT) {
            continue;
        }
        ProgramReport report;
        report.name = bpf_program__name(program);
        report.events = event::counts(*loaded);
        report.runs = loaded->runs.load(std::memory_order_relaxed);
        report.run_ns = loaded->run_ns.load(std::memory_order_relaxed);
        report.callbacks = loaded->callbacks.load(std::memory_order_relaxed);
        report.callback_ns = loaded->callback_ns.load(std::memory_order_relaxed);
        for (unsigned result = 0; result < kScheduleResults; ++result) {
            report.schedules[result] =
                loaded->schedule_results[result].load(std::memory_order_relaxed);
        }
        if (const auto at = loaded->last_fault_insn.load(std::memory_order_relaxed); at != 0) {
            const auto kind = static_cast<bpf::FaultKind>(
                loaded->last_fault_kind.load(std::memory_order_relaxed));
            report.last_fault = fmt::format("{} at instruction {}", bpf::describe(kind), at - 1);
        }
        reports.push_back(std::move(report));
    }
    return reports;
}

std::vector<MapReport> Object::map_reports() const {
    std::vector<MapReport> reports;
    const btf* types = bpf_object__btf(state_->object);
    bpf_map* map = nullptr;
    while ((map = bpf_object__next_map(state_->object, map)) != nullptr) {
        const int fd = bpf_map__fd(map);
        if (fd < 0) {
            continue;
        }
        MapReport report;
        report.name = bpf_map__name(map);
        const char* type = libbpf_bpf_map_type_str(bpf_map__type(map));
        report.type = type == nullptr ? "unknown" : type;
        if (bpf_map__type(map) == BPF_MAP_TYPE_RINGBUF) {
            for (const State::Ring& ring : state_->rings) {
                if (ring.map == map) {
                    report.ring = ring.report;
                    report.ring->dropped = map::ring_dropped(*ring.ring);
                }
            }
            reports.push_back(std::move(report));
            continue;
        }
        const std::uint32_t key_type = bpf_map__btf_key_type_id(map);
        const std::uint32_t value_type = bpf_map__btf_value_type_id(map);
        std::vector<std::byte> key(bpf_map__key_size(map));
        std::vector<std::byte> next(key.size());
        const std::size_t slot_bytes = (bpf_map__value_size(map) + 7) & ~std::size_t{7};
        const bool per_cpu = bpf_map__type(map) == BPF_MAP_TYPE_PERCPU_ARRAY ||
                             bpf_map__type(map) == BPF_MAP_TYPE_PERCPU_HASH ||
                             bpf_map__type(map) == BPF_MAP_TYPE_LRU_PERCPU_HASH;
        const int slots = per_cpu ? libbpf_num_possible_cpus() : 1;
        std::vector<std::byte> value(slot_bytes * static_cast<std::size_t>(slots));
        const bool has_value_type = value_type != 0;
        for (bool first = true;
             // The bound ends the walk where others keep changing the map under it.
             report.elements.size() < std::size_t{2} * bpf_map__max_entries(map) &&
             bpf_map_get_next_key(fd, first ? nullptr : key.data(), next.data()) == 0;
             first = false) {
            key.swap(next);
            if (bpf_map_lookup_elem(fd, key.data(), value.data()) != 0) {
                continue;  // deleted meanwhile
            }
            Json element = Json::object();
            // The key of a map of data is an index, though libbpf gives it no type.
            if (key_type == 0 && has_value_type && key.size() == sizeof(std::uint32_t)) {
                std::uint32_t index = 0;
                std::memcpy(&index, key.data(), sizeof index);
                element["key"] = index;
            } else {
                element["key"] = btf_value(types, key_type, key.data(), key.size());
            }
            const auto slot = [&](int processor) {
                return btf_value(types, value_type,
                                 value.data() + slot_bytes * static_cast<std::size_t>(processor),
                                 bpf_map__value_size(map));
            };
            if (per_cpu) {
                Json values = Json::array();
                for (int processor = 0; processor < slots; ++processor) {
                    values.push_back({{"cpu", processor}, {"value", slot(processor)}});
                }
                element["values"] = std::move(values);
            } else {
                element["value"] = slot(0);
            }
            report.elements.push_back(std::move(element));
        }
        reports.push_back(std::move(report));
    }
    return reports;
}

void Object::close() noexcept { state_->close(); }

}  // namespace taskwork::cli
