// SPDX-License-Identifier: Apache-2.0
#include "uapi/perf_event.hpp"

#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "sync/arena.hpp"
#include "uapi/descriptors.hpp"
#include "uapi/diagnosis.hpp"
#include "uapi/user_memory.hpp"

namespace taskwork::uapi {
namespace {

struct Links {
    std::mutex lock;
    std::map<std::uint32_t, std::weak_ptr<LinkObject>> all;
    std::uint32_t last_id = 0;
};

// Never destroyed: descriptors may be closed while the process exits.
Links& links() {
    static auto* instance = new Links;
    return *instance;
}

std::uint64_t next_event_id() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

/// The kernel's default ceiling of samples a second (kernel.perf_event_max_sample_rate).
constexpr std::uint64_t kFrequencyMax = 100000;
constexpr std::uint64_t kSignBit = std::uint64_t{1} << 63;

/// Copies a perf_event_attr of any published size; what it lacks is zero.
int copy_attributes(perf_event_attr& to, std::uint64_t from) {
    std::uint32_t size = 0;
    if (copy_from_user(&size, from + offsetof(perf_event_attr, size), sizeof size) != no_error) {
        return -EFAULT;
    }
    if (size == 0) {
        size = PERF_ATTR_SIZE_VER0;
    }
    const std::uint32_t known = sizeof to;
    bool too_big = size < PERF_ATTR_SIZE_VER0 || size > 4096;
    if (!too_big && size > known) {
        std::byte tail[4096];
        if (copy_from_user(tail, from + known, size - known) != no_error) {
            return -EFAULT;
        }
        too_big = std::any_of(tail, tail + (size - known),
                              [](std::byte byte) { return byte != std::byte{0}; });
    }
    if (too_big) {
        // The kernel tells its own size this way.
        (void)copy_to_user(from + offsetof(perf_event_attr, size), &known, sizeof known);
        return -E2BIG;
    }
    std::memset(&to, 0, sizeof to);
    if (copy_from_user(&to, from, std::min(size, known)) != no_error) {
        return -EFAULT;
    }
    to.size = size;
    return 0;
}

std::optional<event::Source> source_of(const perf_event_attr& attr) {
    if (attr.type == PERF_TYPE_SOFTWARE &&
        (attr.config == PERF_COUNT_SW_CPU_CLOCK || attr.config == PERF_COUNT_SW_TASK_CLOCK)) {
        return event::Source::cpu_clock;
    }
    if (attr.type == PERF_TYPE_HARDWARE && attr.config == PERF_COUNT_HW_CPU_CYCLES) {
        return event::Source::cpu_cycles;
    }
    return std::nullopt;
}

long result_of(const Result<void>& result) {
    if (result) {
        return 0;
    }
    set_diagnosis(result.error().text);
    return negative_errno(result.error().code);
}

long set_bpf(PerfEvent& event, int descriptor) {
    int error = 0;
    const auto program = object_as<ProgramObject>(descriptor, error);
    if (program == nullptr) {
        return error;
    }
    if (program->type() != BPF_PROG_TYPE_PERF_EVENT) {
        return -EINVAL;
    }
    return result_of(event.set_program(program->program(), 0));
}

}  // namespace

PerfEvent::PerfEvent(const event::EventAttributes& attributes, const Opening& opening)
    : Object(kKind), id_(next_event_id()), attributes_(attributes), opening_(opening),
      enabled_(opening.enabled), pages_(opening.processor, opening.takes_records, opening.enabled) {
}

PerfEvent::~PerfEvent() { clear_program(); }

Result<void> PerfEvent::set_program(bpf::Program& program, std::uint64_t cookie) {
    const std::lock_guard guard(lock_);
    if (program_ != nullptr) {
        return Error{std::errc::file_exists, "the perf event has a program already"};
    }
    program_ = &program;
    cookie_ = cookie;
    if (Result<void> attached = update_attachment(); !attached) {
        program_ = nullptr;
        return attached;
    }
    bpf::get_program(program);
    return {};
}

void PerfEvent::clear_program() noexcept {
    bpf::Program* program = nullptr;
    {
        const std::lock_guard guard(lock_);
        detach();
        program = std::exchange(program_, nullptr);
    }
    if (program != nullptr && sync::Arena::present() && sync::Arena::is_host()) {
        bpf::put_program(*program);
    }
}

Result<void> PerfEvent::set_enabled(bool enabled) {
    const std::lock_guard guard(lock_);
    const bool before = std::exchange(enabled_, enabled);
    Result<void> updated = update_attachment();
    if (!updated) {
        enabled_ = before;
    }
    pages_.output().enabled.store(enabled_ ? 1 : 0, std::memory_order_relaxed);
    return updated;
}

Result<void> PerfEvent::set_period(std::uint64_t value) {
    const std::lock_guard guard(lock_);
    const bool by_frequency = attributes_.frequency != 0;
    if (value == 0 || (value & kSignBit) != 0 || (by_frequency && value > kFrequencyMax)) {
        return Error{std::errc::invalid_argument, "a period must be above 0"};
    }
    detach();
    (by_frequency ? attributes_.frequency : attributes_.period) = value;
    return update_attachment();
}

/// Brings the event layer in line with {enabled, program}.
Result<void> PerfEvent::update_attachment() {
    const bool fires = attributes_.period != 0 || attributes_.frequency != 0;
    if (!enabled_ || program_ == nullptr || !fires) {
        detach();
        return {};
    }
    if (!event_) {
        Result<unsigned> event = event::attach(attributes_, *program_, cookie_);
        if (!event) {
            return event.error();
        }
        event_ = *event;
    }
    return {};
}

void PerfEvent::detach() noexcept {
    if (event_ && sync::Arena::present() && sync::Arena::is_host()) {
        event::detach(*event_);
    }
    event_.reset();
}

LinkObject::LinkObject(std::shared_ptr<PerfEvent> event, std::shared_ptr<ProgramObject> program,
                       std::uint32_t id) noexcept
    : Object(kKind), event_(std::move(event)), program_(std::move(program)), id_(id) {}

LinkObject::~LinkObject() { event_->clear_program(); }

Result<std::shared_ptr<LinkObject>> LinkObject::create(std::shared_ptr<PerfEvent> event,
                                                       std::shared_ptr<ProgramObject> program,
                                                       std::uint64_t cookie) {
    if (Result<void> set = event->set_program(program->program(), cookie); !set) {
        return set.error();
    }
    Links& registry = links();
    const std::lock_guard guard(registry.lock);
    std::erase_if(registry.all, [](const auto& entry) { return entry.second.expired(); });
    const std::uint32_t id = ++registry.last_id;
    auto link = std::make_shared<LinkObject>(std::move(event), std::move(program), id);
    registry.all[id] = link;
    return link;
}

std::shared_ptr<LinkObject> LinkObject::by_id(std::uint32_t id) {
    Links& registry = links();
    const std::lock_guard guard(registry.lock);
    const auto found = registry.all.find(id);
    return found == registry.all.end() ? nullptr : found->second.lock();
}

std::uint32_t LinkObject::next_id(std::uint32_t id) {
    Links& registry = links();
    const std::lock_guard guard(registry.lock);
    for (auto next = registry.all.upper_bound(id); next != registry.all.end(); ++next) {
        if (!next->second.expired()) {
            return next->first;
        }
    }
    return 0;
}

long perf_event_open(std::uint64_t attr_address, std::int32_t pid, std::int32_t cpu,
                     std::int32_t group, std::uint64_t flags) {
    constexpr std::uint64_t known_flags =
        PERF_FLAG_FD_NO_GROUP | PERF_FLAG_FD_OUTPUT | PERF_FLAG_PID_CGROUP | PERF_FLAG_FD_CLOEXEC;
    if ((flags & ~known_flags) != 0) {
        return -EINVAL;
    }
    perf_event_attr attr;
    if (const int error = copy_attributes(attr, attr_address); error != 0) {
        return error;
    }
    if (attr.freq ? attr.sample_freq > kFrequencyMax : (attr.sample_period & kSignBit) != 0) {
        return -EINVAL;
    }
    if ((flags & PERF_FLAG_PID_CGROUP) != 0 || group != -1) {
        set_diagnosis("perf_event_open: groups of events and cgroups are not served");
        return -EINVAL;
    }
    if (pid < -1 || cpu < -1 || (pid == -1 && cpu == -1)) {
        return -EINVAL;
    }
    PerfEvent::Opening opening;
    opening.enabled = attr.disabled == 0;
    opening.is_inherited = attr.inherit != 0;
    opening.processor = cpu;
    if (attr.type == PERF_TYPE_SOFTWARE && attr.config == PERF_COUNT_SW_BPF_OUTPUT) {
        if (attr.sample_type != PERF_SAMPLE_RAW) {
            set_diagnosis("perf_event_open: the records of programs are PERF_SAMPLE_RAW here");
            return -EINVAL;
        }
        opening.takes_records = true;
        return install_descriptor(std::make_shared<PerfEvent>(event::EventAttributes{}, opening),
                                  Backing::eventfd, "perf_event");
    }
    const std::optional<event::Source> source = source_of(attr);
    if (!source) {
        set_diagnosis("perf_event_open: no event of type " + std::to_string(attr.type) +
                      ", config " + std::to_string(attr.config) +
                      " here; served are the CPU clock, CPU cycles and the output of programs");
        return -ENOENT;
    }
    event::EventAttributes attributes;
    attributes.source = *source;
    (attr.freq ? attributes.frequency : attributes.period) = attr.sample_period;
    return install_descriptor(std::make_shared<PerfEvent>(attributes, opening), Backing::memfd,
                              "perf_event");
}

long perf_event_ioctl(PerfEvent& event, std::uint64_t request, std::uint64_t argument) {
    switch (request) {
    case PERF_EVENT_IOC_ENABLE:
        return result_of(event.set_enabled(true));
    case PERF_EVENT_IOC_DISABLE:
        return result_of(event.set_enabled(false));
    case PERF_EVENT_IOC_RESET:
        return 0;  // the counts that it resets cannot be read here
    case PERF_EVENT_IOC_PERIOD: {
        std::uint64_t period = 0;
        if (copy_from_user(&period, argument, sizeof period) != no_error) {
            return -EFAULT;
        }
        return result_of(event.set_period(period));
    }
    case PERF_EVENT_IOC_ID: {
        const std::uint64_t id = event.id();
        return copy_to_user(argument, &id, sizeof id) == no_error ? 0 : -EFAULT;
    }
    case PERF_EVENT_IOC_SET_BPF:
        return set_bpf(event, static_cast<int>(argument));
    default:
        set_diagnosis("ioctl on a perf event: request " + std::to_string(request) +
                      " is not served");
        return -ENOTTY;
    }
}

}  // namespace taskwork::uapi
