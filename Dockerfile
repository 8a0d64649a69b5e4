# docker build -t loam.dev/loam:dev .
#
# --target prebuilt takes dist/ from the context instead of building it, and with a base that has Node and the tools
# (--build-arg BASE=…) needs no network at all.
ARG NODE_VERSION=22.23.3
ARG BASE=debian:bookworm-slim

FROM node:${NODE_VERSION}-bookworm-slim AS build
WORKDIR /loam
COPY package.json package-lock.json ./
# no package's own script has to run for the bundle
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY proto proto
COPY scripts/generate-csi-types.mjs scripts/build.mjs scripts/
COPY src src
RUN node scripts/generate-csi-types.mjs && node scripts/build.mjs

# What the program calls: mkfs.*, debugfs, filefrag, chattr, lsattr, xfs_io, xfs_quota, setpriv, getfattr, setfattr, mount, umount, losetup, unshare, fallocate, flock.
# bookworm's xfsprogs makes file systems that kernels before 5.19 can mount, too.
FROM ${BASE} AS tools
RUN set -eu; \
    for tool in mkfs.ext4 debugfs filefrag chattr mkfs.xfs xfs_io mkfs.btrfs mount umount losetup unshare fallocate flock mknod lsattr xfs_quota setpriv getfattr setfattr cp sync btrfs btrfstune dd e2fsck fsfreeze resize2fs tune2fs xfs_db; do \
      command -v "$tool" >/dev/null || missing="${missing:-} $tool"; \
    done; \
    if [ -n "${missing:-}" ]; then \
      apt-get update; \
      DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends e2fsprogs xfsprogs btrfs-progs util-linux mount attr; \
    fi; \
    # a third of the image, and only for xfs_scrub, which is not called, and for moving /bin to /usr/bin, which is done
    unused=$(dpkg-query -W -f '${Package}\n' | grep -E '^((lib)?python3.*|libicu[0-9]+|perl|perl-modules-.*|libperl5.*|lib.*-perl|usrmerge)$' || true); \
    # Python's own steps before its removal run Python, to clear its caches
    rm -f /var/lib/dpkg/info/*python3*.prerm; \
    [ -z "$unused" ] || dpkg --purge --force-depends $unused; \
    rm -rf /usr/sbin/xfs_scrub* /usr/lib/python3* /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log; \
    # for kubectl exec: the same program
    printf '#!/bin/sh\nexec node /usr/lib/loam/loam.mjs "$@"\n' >/usr/local/bin/loam; \
    chmod 755 /usr/local/bin/loam; \
    # nothing that is called has lost a library
    for tool in mkfs.ext4 mkfs.xfs xfs_io mkfs.btrfs losetup unshare; do "$tool" -V >/dev/null 2>&1 || "$tool" --version >/dev/null; done

# one layer: what was removed above is not shipped
FROM scratch AS runtime
COPY --from=tools / /
LABEL org.opencontainers.image.title="Loam" \
      org.opencontainers.image.description="Local volumes for Kubernetes: a CSI driver and dynamic provisioner without sidecars" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# these flags halve the memory of the process; not all of them are allowed in NODE_OPTIONS
ENTRYPOINT ["node", "--max-semi-space-size=1", "--optimize-for-size", "--v8-pool-size=1", "--no-opt", "/usr/lib/loam/loam.mjs"]
CMD ["help"]

FROM runtime AS prebuilt
COPY dist /usr/lib/loam

FROM node:${NODE_VERSION}-bookworm-slim AS node

FROM runtime AS loam
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=build /loam/dist /usr/lib/loam
