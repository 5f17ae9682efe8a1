// A main for fuzz targets built without libFuzzer: runs every file named, and every file in
 // directories named, once.
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned passed, failed;

static void
replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    long size = -1;
    if (file && fseek(file, 0, SEEK_END) == 0)
        size = ftell(file);
    uint8_t *data =
        size >= 0 ? malloc(size ? (size_t)size : 1) : NULL;  // the exact size, for AddressSanitizer
    if (!data || fseek(file, 0, SEEK_SET) != 0 ||
        fread(data, 1, (size_t)size, file) != (size_t)size) {
        printf("FAIL %s: cannot be read\n", path);
        failed++;
    } else {
        printf("%s\n", path);  // before the run: the last line names the input that crashed
        fflush(stdout);
        LLVMFuzzerTestOneInput(data, (size_t)size);
        passed++;
    }
    free(data);
    if (file)
        fclose(file);
}

int
main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        DIR *directory = opendir(argv[i]);
        if (!directory) {
            replay_file(argv[i]);
            continue;
        }
        for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory)) {
            char path[4096];
            if (entry->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            replay_file(path);
        }
        closedir(directory);
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed > 0 || passed == 0;
}
