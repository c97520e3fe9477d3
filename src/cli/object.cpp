// SPDX-License-Identifier: Apache-2.0
#include "cli/object.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <optional>
#include <utility>

#include "bpf/statistics.hpp"
#include "cli/btf_value.hpp"
#include "cli/object_file.hpp"
#include "map/ring_buffer.hpp"
#include "uapi/uapi.hpp"

namespace taskwork::cli {

namespace {

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
    std::optional<bpf::Statistics> statistics;  ///< For program_reports().

    ~State() { close(); }
    void close() noexcept {
        for (bpf_link* link : links) {
            bpf_link__destroy(link);
        }
        links.clear();
        rings.clear();
        statistics.reset();
        bpf_object__close(std::exchange(object, nullptr));
    }
};

Object::Object(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Object::Object(Object&&) noexcept = default;
Object& Object::operator=(Object&&) noexcept = default;
Object::~Object() = default;

Result<Object> Object::open(const std::string& path, bool verbose) {
    auto bytes = read_object_file(path);
    if (!bytes) {
        return bytes.error();
    }
    clear_messages(verbose);
    Result<ObjectHandle> opened = open_object(*bytes, path);
    if (!opened) {
        return opened.error();
    }
    auto state = std::make_unique<State>();
    state->path = path;
    state->object = opened->release();
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
    clear_messages();
    if (const int error = bpf_object__load(state_->object); error != 0) {
        return Error{static_cast<std::errc>(-error),
                     state_->path + ": cannot be loaded: " + why_failed(-error)};
    }
    state_->statistics.emplace();
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
        clear_messages();
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
        if (const map::Map* const behind = uapi::map_of(fd)) {
            report.refused = map::usage(*behind).refused_no_memory;
        }
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
