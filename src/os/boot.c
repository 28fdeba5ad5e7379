#include "os/boot.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/uuid.h"

#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"

int os_boot_id(uint8_t ret_id[OS_BOOT_ID_SIZE])
{
    char text[UUID_TEXT_SIZE];
    struct uuid uuid;
    int file = open(BOOT_ID_PATH, O_RDONLY | O_CLOEXEC), r = 0;
    ssize_t size;

    if (file < 0)
        return error_from_errno();
    do
        size = read(file, text, sizeof(text));
    while (size < 0 && errno == EINTR);
    if (size < 0)
        r = error_from_errno();
    (void)close(file);
    if (r < 0)
        return r;
    if (size < UUID_TEXT_SIZE - 1 || uuid_parse(bytes_make(text, UUID_TEXT_SIZE - 1), &uuid) != 0)
        return -EPROTO;
    memcpy(ret_id, uuid.data, OS_BOOT_ID_SIZE);
    return 0;
}
