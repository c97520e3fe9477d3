// SPDX-License-Identifier: Apache-2.0
//
// The trace in the JSON of the Trace Event Format: spans that begin (b) and end (e) by id, slices
// on threads (B, E), arrows between them (s, f), names of threads (M).
#include <cxxabi.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <new>
#include <set>
#include <string>
#include <utility>

#include "base/errc.hpp"
#include "library/trace.hpp"
#include "sync/platform.hpp"
#include <taskwork/trace.hpp>

namespace taskwork::library {

namespace {

/// Buffered output to a descriptor; the first error stays.
class Output {
public:
    explicit Output(int descriptor) : descriptor_(descriptor) {}
    [[gnu::format(printf, 2, 3)]] void print(const char* format, ...) {
        char text[1024];
        va_list arguments;
        va_start(arguments, format);
        const int length = std::vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        buffer_.append(text, length < 0 ? 0
                             : length < static_cast<int>(sizeof(text))
                                 ? static_cast<unsigned>(length)
                                 : sizeof(text) - 1);
        if (buffer_.size() > kFlushAt) {
            flush();
        }
    }
    std::errc flush() {
        std::size_t done = 0;
        while (error_ == no_error && done < buffer_.size()) {
            const ssize_t now = ::write(descriptor_, buffer_.data() + done, buffer_.size() - done);
            if (now >= 0) {
                done += static_cast<std::size_t>(now);
            } else if (errno != EINTR) {
                error_ = last_errc();
            }
        }
        buffer_.clear();
        return error_;
    }

private:
    static constexpr std::size_t kFlushAt = 1 << 16;
    int descriptor_;
    std::string buffer_;
    std::errc error_ = no_error;
};

/// `text` as the inside of a JSON string, cut at 200 characters.
std::string escaped(const char* text) {
    constexpr std::size_t kLongest = 200;
    std::string out;
    for (; *text != '\0' && out.size() < kLongest; ++text) {
        const auto byte = static_cast<unsigned char>(*text);
        if (byte == '"' || byte == '\\') {
            out += '\\';
            out += *text;
        } else if (byte < 0x20 || byte >= 0x7f) {
            out += '?';
        } else {
            out += *text;
        }
    }
    return out;
}

/// What schedules this callable: the function that its type is local to, if the program says.
std::string name_of(std::uint64_t address) {
    Dl_info info{};
    if (::dladdr(reinterpret_cast<void*>(address), &info) != 0 && info.dli_sname != nullptr) {
        int status = 0;
        char* readable = abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status);
        std::string name = escaped(readable != nullptr ? readable : info.dli_sname);
        std::free(readable);
        return name;
    }
    char text[64];
    if (info.dli_fname != nullptr) {
        const char* slash = info.dli_fname;
        for (const char* at = info.dli_fname; *at != '\0'; ++at) {
            slash = *at == '/' ? at + 1 : slash;
        }
        std::snprintf(text, sizeof(text), "%.30s+0x%" PRIx64, slash,
                      address - reinterpret_cast<std::uint64_t>(info.dli_fbase));
    } else {
        std::snprintf(text, sizeof(text), "0x%" PRIx64, address);
    }
    return escaped(text);
}

std::string name_of_thread(std::int32_t thread) {
    char path[64];
    std::snprintf(path, sizeof(path), "/proc/self/task/%d/comm", thread);
    char name[64] = "";
    const int file = ::open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        const ssize_t length = ::read(file, name, sizeof(name) - 1);
        name[length > 0 ? length - 1 : 0] = '\0';
        ::close(file);
    }
    return escaped(name[0] != '\0' ? name : "ended");
}

class Writer {
public:
    explicit Writer(int descriptor) : out_(descriptor), pid_(platform::process_id()) {}

    void add(const Sample& sample) {
        threads_.insert(sample.thread);
        const Key key{sample.work, sample.round};
        switch (sample.transition) {
        case defer::Transition::pending:
            break;  // The callable is not there yet.
        case defer::Transition::scheduled:
            open_[key] = false;
            event(sample, "b", sample.thread, "");
            event(sample, "s", sample.thread, "");
            break;
        case defer::Transition::running:
            event(sample, "f", sample.thread, R"(,"bp":"e")");
            event(sample, "B", sample.thread, "");
            open_[key] = true;
            break;
        case defer::Transition::ran:
            if (const auto found = open_.find(key); found != open_.end() && found->second) {
                event(sample, "E", sample.thread, "");
            }
            end(sample, key, "ran");
            break;
        case defer::Transition::cancelled:
            end(sample, key, "cancelled");
            break;
        case defer::Transition::dropped:
            end(sample, key, "dropped");
            break;
        case defer::Transition::refused:
            end(sample, key, "refused");
            break;
        }
    }

    std::errc finish() {
        for (const std::int32_t thread : threads_) {
            out_.print("%s{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":%d,\"tid\":%d,"
                       "\"args\":{\"name\":\"%s\"}}",
                       separator(), pid_, thread, name_of_thread(thread).c_str());
        }
        out_.print("%s\n]}\n", first_ ? "{\"traceEvents\":[" : "");
        return out_.flush();
    }

private:
    using Key = std::pair<std::uint32_t, std::uint32_t>;

    const char* separator() {
        const char* text = first_ ? "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n" : ",\n";
        first_ = false;
        return text;
    }

    void event(const Sample& sample, const char* phase, std::int32_t thread, const char* more) {
        auto& name = names_[sample.callable];
        if (name.empty()) {
            name = name_of(sample.callable);
        }
        out_.print("%s{\"name\":\"%s\",\"cat\":\"work\",\"ph\":\"%s\",\"ts\":%" PRIu64
                   ".%03u,\"pid\":%d,\"tid\":%d,\"id\":\"%x.%u\"%s}",
                   separator(), name.c_str(), phase, sample.ns / 1000,
                   static_cast<unsigned>(sample.ns % 1000), pid_, thread, sample.work, sample.round,
                   more);
    }

    void end(const Sample& sample, const Key& key, const char* outcome) {
        if (const auto found = open_.find(key); found != open_.end()) {
            char more[64];
            std::snprintf(more, sizeof(more), R"(,"args":{"outcome":"%s"})", outcome);
            event(sample, "e", sample.thread, more);
            open_.erase(found);
        }
    }

    Output out_;
    int pid_;
    bool first_ = true;
    std::map<Key, bool> open_;  ///< Spans begun; whether their callback runs.
    std::map<std::uint64_t, std::string> names_;
    std::set<std::int32_t> threads_;
};

}  // namespace

}  // namespace taskwork::library

namespace taskwork {

std::errc trace::write_json(int descriptor) noexcept {
    try {
        library::Writer writer(descriptor);
        library::for_each_record(
            [](void* argument, const library::Sample& sample) {
                static_cast<library::Writer*>(argument)->add(sample);
            },
            &writer);
        return writer.finish();
    } catch (const std::bad_alloc&) {
        return std::errc::not_enough_memory;
    }
}

}  // namespace taskwork
