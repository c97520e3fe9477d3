// SPDX-License-Identifier: Apache-2.0
#include "cli/family.hpp"

#include <linux/perf_event.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <map>

#include "base/raw_system_call.hpp"

namespace taskwork::cli {

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kDataBytes = 32 * kPage;  ///< A power of two.

perf_event_attr attributes() {
    perf_event_attr attr{};
    attr.size = sizeof attr;
    attr.type = PERF_TYPE_SOFTWARE;
    attr.config = PERF_COUNT_SW_DUMMY;
    attr.sample_type = PERF_SAMPLE_TIME;
    attr.sample_id_all = 1;  // the time stands at the end of every record
    attr.use_clockid = 1;
    attr.clockid = CLOCK_BOOTTIME;
    attr.exclude_kernel = 1;
    attr.exclude_hv = 1;
    attr.inherit = 1;
    attr.task = 1;
    attr.comm = 1;
    attr.comm_exec = 1;
    attr.mmap = 1;
    return attr;
}

/// Reads a record's fields one after the other.
class Fields {
public:
    explicit Fields(const std::vector<std::byte>& bytes)
        : at_(bytes.data() + sizeof(perf_event_header)), end_(bytes.data() + bytes.size()) {}

    template <class T>
    T next() {
        T value{};
        if (at_ + sizeof(T) <= end_) {
            std::memcpy(&value, at_, sizeof(T));
        }
        at_ += sizeof(T);
        return value;
    }
    [[nodiscard]] std::string text() const {
        if (at_ >= end_) {
            return {};
        }
        const char* start = reinterpret_cast<const char*>(at_);
        return {start, strnlen(start, static_cast<std::size_t>(end_ - at_))};
    }

private:
    const std::byte* at_;
    const std::byte* end_;
};

}  // namespace

Family::~Family() { close(); }

void Family::close() {
    for (const Ring& ring : rings_) {
        ::munmap(ring.memory, kPage + kDataBytes);
        ::close(ring.descriptor);
    }
    rings_.clear();
}

bool Family::follow(pid_t pid) {
    const long processors = ::sysconf(_SC_NPROCESSORS_CONF);
    if (processors < 1 || processors > kProcessorsMax) {
        return false;
    }
    perf_event_attr attr = attributes();
    for (long processor = 0; processor < processors; ++processor) {
        // An inherited event has a ring only if it is bound to a processor.
        const long fd = raw_system_call(SYS_perf_event_open, reinterpret_cast<long>(&attr), pid,
                                        processor, -1, PERF_FLAG_FD_CLOEXEC);
        if (fd == -ENODEV) {
            continue;  // off line
        }
        void* memory = fd < 0 ? MAP_FAILED
                              : ::mmap(nullptr, kPage + kDataBytes, PROT_READ | PROT_WRITE,
                                       MAP_SHARED, static_cast<int>(fd), 0);
        if (memory == MAP_FAILED) {
            if (fd >= 0) {
                ::close(static_cast<int>(fd));
            }
            close();
            return false;
        }
        rings_.push_back({static_cast<int>(fd), static_cast<std::byte*>(memory)});
    }
    return is_following();
}

std::vector<FamilyRecord> Family::take() {
    std::vector<FamilyRecord> records;
    for (Ring& ring : rings_) {
        take_from(ring, records);
    }
    // Equal times stay in order. (Under clang libstdc++'s stable_sort is a deprecation warning.)
    std::multimap<std::uint64_t, FamilyRecord> by_time;
    for (FamilyRecord& record : records) {
        by_time.emplace(record.time_ns, std::move(record));
    }
    records.clear();
    for (auto& [time, record] : by_time) {
        records.push_back(std::move(record));
    }
    return records;
}

void Family::take_from(Ring& ring, std::vector<FamilyRecord>& records) {
    auto& page = *reinterpret_cast<perf_event_mmap_page*>(ring.memory);
    const std::byte* data = ring.memory + kPage;
    // Acquire: pairs with the kernel's barrier between record and head.
    const std::uint64_t head = __atomic_load_n(&page.data_head, __ATOMIC_ACQUIRE);
    std::uint64_t tail = page.data_tail;
    std::vector<std::byte> bytes;
    const auto copy = [&](std::size_t size) {
        bytes.resize(size);
        for (std::size_t i = 0; i < size; ++i) {  // it may wrap around
            bytes[i] = data[(tail + i) & (kDataBytes - 1)];
        }
    };
    while (tail + sizeof(perf_event_header) <= head) {
        copy(sizeof(perf_event_header));
        perf_event_header header;
        std::memcpy(&header, bytes.data(), sizeof header);
        if (header.size < sizeof header) {
            break;
        }
        copy(header.size);
        tail += header.size;

        FamilyRecord record;
        if (bytes.size() >= sizeof header + sizeof record.time_ns) {
            std::memcpy(&record.time_ns, bytes.data() + bytes.size() - sizeof record.time_ns,
                        sizeof record.time_ns);
            bytes.resize(bytes.size() - sizeof record.time_ns);
        }
        Fields fields(bytes);
        const auto pid = fields.next<std::uint32_t>();
        const auto second = fields.next<std::uint32_t>();  // tid, or the parent's pid
        record.pid = static_cast<pid_t>(pid);
        switch (header.type) {
        case PERF_RECORD_FORK:
            if (pid == second) {
                continue;  // a thread
            }
            record.kind = FamilyRecord::Kind::forked;
            record.parent = static_cast<pid_t>(second);
            break;
        case PERF_RECORD_EXIT:
            if (fields.next<std::uint32_t>() != pid) {
                continue;
            }
            record.kind = FamilyRecord::Kind::exited;
            break;
        case PERF_RECORD_COMM:
            if ((header.misc & PERF_RECORD_MISC_COMM_EXEC) == 0) {
                continue;  // a name
            }
            record.kind = FamilyRecord::Kind::execed;
            record.text = fields.text();
            break;
        case PERF_RECORD_MMAP:
            record.kind = FamilyRecord::Kind::mapped;
            record.start = fields.next<std::uint64_t>();
            record.end = record.start + fields.next<std::uint64_t>();
            record.offset = fields.next<std::uint64_t>();
            record.text = fields.text();
            break;
        case PERF_RECORD_LOST: {
            Fields lost(bytes);
            lost.next<std::uint64_t>();
            lost_ += lost.next<std::uint64_t>();
            continue;
        }
        default:
            continue;
        }
        records.push_back(std::move(record));
    }
    // Release: the kernel may overwrite what has been read.
    __atomic_store_n(&page.data_tail, tail, __ATOMIC_RELEASE);
}

}  // namespace taskwork::cli
