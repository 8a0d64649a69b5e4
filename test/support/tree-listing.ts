import { execFileSync } from 'node:child_process';

/**
 * Everything that a copy keeps, as text: kind, mode, owner, size, times to the microsecond, link targets, how names are linked, content and
 * extended attributes. Equal texts mean equal trees.
 */
export function treeListing(path: string): string {
  const program = `
import hashlib, os, stat, sys
root = os.fsencode(sys.argv[1])
first = {}
for here, folders, files in os.walk(root):
  folders.sort()
  for name in sorted([b"."] + files + [f for f in folders if os.path.islink(os.path.join(here, f))]):
    path = os.path.normpath(os.path.join(here, name))
    found = os.lstat(path)
    shown = os.path.relpath(path, root)
    facts = [repr(shown), oct(found.st_mode), found.st_uid, found.st_gid, found.st_mtime_ns // 1000]
    if stat.S_ISREG(found.st_mode):
      facts += [found.st_size, hashlib.sha256(open(path, "rb").read()).hexdigest(), first.setdefault(found.st_ino, repr(shown))]
    if stat.S_ISLNK(found.st_mode): facts.append(os.readlink(path))
    else: facts += [(key, os.getxattr(path, key)) for key in sorted(os.listxattr(path))]
    print(*facts)
`;
  return execFileSync('python3', ['-c', program, path], { encoding: 'utf8', maxBuffer: 64 << 20 });
}
