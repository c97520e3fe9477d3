// SPDX-License-Identifier: Apache-2.0
#include "agent/launch.hpp"

#include <elf.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "sync/arena.hpp"

namespace taskwork::agent {

namespace {

constexpr char kLibraryName[] = "libtaskwork-agent.so";
/// Interpreters of interpreters that execve follows.
constexpr unsigned kScriptDepthMax = 4;

Error error_about(int code, const std::string& object) {
    return Error{static_cast<std::errc>(code), object + ": " + std::strerror(code)};
}

/// A descriptor for the length of a function.
class File {
public:
    explicit File(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
    ~File() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }
    /// All of it or nothing.
    [[nodiscard]] bool read(void* to, std::size_t size, std::uint64_t offset) const noexcept {
        return ::pread(fd_, to, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
    }
    /// Up to `size` bytes from the start.
    [[nodiscard]] std::string head(std::size_t size) const {
        std::string text(size, '\0');
        const ssize_t got = ::pread(fd_, text.data(), size, 0);
        text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
        return text;
    }

private:
    int fd_;
};

/// The errno by which exec would refuse the file; 0: it would not.
int why_not_executable(const std::string& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) {
        return errno;
    }
    if (!S_ISREG(status.st_mode)) {
        return EACCES;
    }
    return ::access(path.c_str(), X_OK) == 0 ? 0 : errno;
}

/// Why the dynamic linker would run the file in secure mode; empty: it would not.
std::string why_privileged(const std::string& path) {
    struct stat status{};
    struct statvfs volume{};
    if (::stat(path.c_str(), &status) != 0 ||
        (::statvfs(path.c_str(), &volume) == 0 && (volume.f_flag & ST_NOSUID) != 0)) {
        return "";
    }
    if ((status.st_mode & S_ISUID) != 0 && status.st_uid != ::getuid()) {
        return "set-user-id";
    }
    if ((status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
        status.st_gid != ::getgid()) {
        return "set-group-id";
    }
    if (::getuid() != 0 && ::getxattr(path.c_str(), "security.capability", nullptr, 0) > 0) {
        return "given file capabilities";
    }
    return "";
}

struct ElfView {
    bool is_elf = false;
    Entry entry = Entry::yes;
    std::string text;  ///< What it is, for the reason.
};

ElfView look_at_elf(const File& file) {
    ElfView view;
    Elf64_Ehdr header{};
    std::array<unsigned char, EI_NIDENT> ident{};
    if (!file.read(ident.data(), ident.size(), 0) ||
        std::memcmp(ident.data(), ELFMAG, SELFMAG) != 0) {
        return view;
    }
    view.is_elf = true;
    if (ident[EI_CLASS] != ELFCLASS64 || !file.read(&header, sizeof(header), 0) ||
        header.e_machine != EM_X86_64) {
        view.entry = Entry::foreign_machine;
        view.text = ident[EI_CLASS] == ELFCLASS32 ? "a 32-bit program" : "not an x86-64 program";
        return view;
    }
    for (unsigned index = 0; index < header.e_phnum; ++index) {
        Elf64_Phdr segment{};
        if (!file.read(&segment, sizeof(segment),
                       header.e_phoff + std::uint64_t{index} * header.e_phentsize)) {
            break;
        }
        if (segment.p_type != PT_INTERP) {
            continue;
        }
        std::array<char, 256> linker{};
        const std::size_t size =
            segment.p_filesz < linker.size() ? segment.p_filesz : linker.size() - 1;
        if (!file.read(linker.data(), size, segment.p_offset)) {
            break;
        }
        if (std::strstr(linker.data(), "ld-linux") == nullptr) {
            view.entry = Entry::foreign_libc;
            view.text = std::string("linked by ") + linker.data() + ", not by glibc's loader";
        }
        return view;
    }
    view.entry = Entry::static_program;
    view.text = "statically linked";
    return view;
}

/// The interpreter that a script names in its first line; empty: it is no script.
std::string interpreter_of(const File& file) {
    const std::string head = file.head(256);
    if (head.compare(0, 2, "#!") != 0) {
        return "";
    }
    const std::size_t begin = head.find_first_not_of(" \t", 2);
    if (begin == std::string::npos) {
        return "";
    }
    const std::size_t end = head.find_first_of(" \t\n", begin);
    return head.substr(begin, end == std::string::npos ? end : end - begin);
}

std::vector<char*> pointers_to(const std::vector<std::string>& strings) {
    std::vector<char*> pointers;
    pointers.reserve(strings.size() + 1);
    for (const std::string& string : strings) {
        pointers.push_back(const_cast<char*>(string.c_str()));
    }
    pointers.push_back(nullptr);
    return pointers;
}

int spawn(pid_t* pid, const std::string& path, const std::vector<std::string>& arguments,
          const LaunchSpec& spec) {
    posix_spawnattr_t attributes;
    int error = ::posix_spawnattr_init(&attributes);
    if (error != 0) {
        return error;
    }
    short flags = 0;
    if (spec.mask != nullptr) {
        flags |= POSIX_SPAWN_SETSIGMASK;
        ::posix_spawnattr_setsigmask(&attributes, spec.mask);
    }
    if (spec.defaults != nullptr) {
        flags |= POSIX_SPAWN_SETSIGDEF;
        ::posix_spawnattr_setsigdefault(&attributes, spec.defaults);
    }
    ::posix_spawnattr_setflags(&attributes, flags);
    error = ::posix_spawn(pid, path.c_str(), nullptr, &attributes, pointers_to(arguments).data(),
                          pointers_to(spec.environment).data());
    ::posix_spawnattr_destroy(&attributes);
    return error;
}

}  // namespace

Result<std::string> find_command(const std::string& name) {
    if (name.find('/') != std::string::npos) {
        const int error = why_not_executable(name);
        if (error != 0) {
            return error_about(error, name);
        }
        return name;
    }
    if (name.empty()) {
        return error_about(ENOENT, "''");
    }
    const char* variable = std::getenv("PATH");
    const std::string path = variable != nullptr ? variable : "/bin:/usr/bin";
    int refused = 0;
    for (std::size_t begin = 0; begin <= path.size();) {
        std::size_t end = path.find(':', begin);
        end = end == std::string::npos ? path.size() : end;
        const std::string folder = end == begin ? "." : path.substr(begin, end - begin);
        const std::string candidate = folder + "/" + name;
        const int error = why_not_executable(candidate);
        if (error == 0) {
            return candidate;
        }
        // As execvp: one that may not be run is remembered, the search goes on.
        if (error == EACCES) {
            refused = error;
        }
        begin = end + 1;
    }
    return error_about(refused != 0 ? refused : ENOENT, name);
}

Result<Inspection> inspect_command(const std::string& path) {
    Inspection inspection;
    inspection.path = path;
    for (unsigned depth = 0; depth <= kScriptDepthMax; ++depth) {
        const File file(inspection.path);
        if (!file.is_open()) {
            return error_about(errno, inspection.path);
        }
        const std::string privilege = why_privileged(inspection.path);
        const ElfView elf = look_at_elf(file);
        if (elf.is_elf) {
            inspection.entry = elf.entry;
            std::string text = elf.text;
            if (elf.entry == Entry::yes && !privilege.empty()) {
                inspection.entry = Entry::privileged;
                text = privilege + ", and the dynamic linker does not preload into such programs";
            }
            if (inspection.entry != Entry::yes) {
                inspection.reason = inspection.path + ": cannot be entered: it is " + text;
            }
            return inspection;
        }
        // The kernel gives no privileges to scripts.
        const std::string interpreter = interpreter_of(file);
        if (interpreter.empty()) {
            break;
        }
        inspection.path = interpreter;
    }
    inspection.entry = Entry::unknown_format;
    inspection.reason = inspection.path + ": neither an ELF program nor a script";
    return inspection;
}

Result<std::string> find_preload_library() {
    if (const char* named = std::getenv(kPreloadVariable); named != nullptr && *named != '\0') {
        char* absolute = ::realpath(named, nullptr);
        if (absolute == nullptr) {
            return error_about(errno, std::string("preload library ") + named);
        }
        std::string path = absolute;
        std::free(absolute);
        return path;
    }
    std::array<char, 4096> self{};
    const ssize_t size = ::readlink("/proc/self/exe", self.data(), self.size() - 1);
    if (size <= 0) {
        return error_about(errno, "/proc/self/exe");
    }
    const std::string folder = std::string(self.data(), static_cast<std::size_t>(size));
    const std::string beside = folder.substr(0, folder.rfind('/') + 1);
    for (const char* place : {"", "../lib/taskwork/", "../lib/"}) {
        char* absolute = ::realpath((beside + place + kLibraryName).c_str(), nullptr);
        if (absolute != nullptr) {
            std::string path = absolute;
            std::free(absolute);
            return path;
        }
    }
    return Error{std::errc::no_such_file_or_directory,
                 std::string(kLibraryName) + " is neither beside " + folder +
                     " nor in ../lib/taskwork or ../lib; " + kPreloadVariable + " can name it"};
}

std::string domain_name() {
    struct stat status{};
    const int descriptor = sync::Arena::descriptor();
    ::fstat(descriptor, &status);
    const sync::ArenaHeader& header = sync::Arena::header();
    std::array<char, 96> text{};
    std::snprintf(text.data(), text.size(), "%d:%d:%" PRIu64 ":%" PRIx64, header.host_pid,
                  descriptor, static_cast<std::uint64_t>(status.st_ino), header.cookie);
    return text.data();
}

std::vector<std::string> member_environment(const char* const* environment,
                                            std::string_view preload_library,
                                            std::string_view domain) {
    std::vector<std::string> result;
    std::string preload = "LD_PRELOAD=" + std::string(preload_library);
    const std::string domain_prefix = std::string(kDomainVariable) + "=";
    for (; environment != nullptr && *environment != nullptr; ++environment) {
        const std::string_view entry = *environment;
        if (entry.starts_with("LD_PRELOAD=")) {
            const std::string_view others = entry.substr(std::strlen("LD_PRELOAD="));
            if (!others.empty()) {
                preload.append(":").append(others);
            }
        } else if (!entry.starts_with(domain_prefix)) {
            result.emplace_back(entry);
        }
    }
    result.push_back(std::move(preload));
    result.push_back(domain_prefix + std::string(domain));
    return result;
}

Result<pid_t> launch(const LaunchSpec& spec) {
    pid_t pid = -1;
    int error = spawn(&pid, spec.path, spec.arguments, spec);
    if (error == ENOEXEC) {
        std::vector<std::string> arguments{"/bin/sh", spec.path};
        if (spec.arguments.size() > 1) {
            arguments.insert(arguments.end(), spec.arguments.begin() + 1, spec.arguments.end());
        }
        error = spawn(&pid, arguments.front(), arguments, spec);
    }
    if (error != 0) {
        return error_about(error, spec.path);
    }
    return pid;
}

int exit_status_of(std::errc error) noexcept {
    return error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory
               ? kExitNotFound
               : kExitCannotRun;
}

}  // namespace taskwork::agent
