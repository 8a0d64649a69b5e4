import { execFileSync } from 'node:child_process';

/**
 * What a pod that means harm could leave in its volume, and what only root could: links of all kinds to what is outside, loops, device
 * nodes, sockets, FIFOs, files that nobody may change or remove, names of any bytes, and directories deeper than any path.
 */
const script = String.raw`
import os, socket, stat, subprocess, sys
root, outside, sibling = sys.argv[1:4]
flags = sys.argv[4] == "flags"
os.chdir(root)
os.symlink(outside, "to-outside")
os.symlink(outside + "/file", "to-file")
os.symlink("../" * 40 + outside.lstrip("/"), "climbs")
os.symlink("../../" + sibling, "to-sibling")
os.symlink("/etc/passwd", "passwd")
os.symlink("loop", "loop")
os.symlink("there", "here"); os.symlink("here", "there")
os.symlink(".", "self")
os.symlink("/" + "x" * 1000, "nowhere")
os.mkdir("inner")
for name in ["file", "inner/one"]:
  open(name, "w").write("own bytes")
os.link("file", "inner/same")
os.mknod("fifo", stat.S_IFIFO | 0o600)
os.mknod("device", stat.S_IFCHR | 0o600, os.makedev(1, 5))
os.mknod("disk", stat.S_IFBLK | 0o600, os.makedev(7, 250))
server = socket.socket(socket.AF_UNIX); server.bind("socket"); server.close()
os.mkdir("names")
for name in [b"\xff\xfe", b"new\nline", b" ", b"-rf", b"*", b"$(reboot)", b"\x01\x1b[2J", b"n" * 255, b"...", b"\\", b".tmp-1", b"volume.json", b"pool.json", b"%2e%2e"]:
  open(b"names/" + name, "wb").write(b"x")
sparse = open("sparse", "wb"); sparse.truncate(1 << 40); sparse.seek(1 << 39); sparse.write(b"middle"); sparse.close()
os.mkdir("closed"); open("closed/file", "w").write("x"); os.chmod("closed/file", 0); os.chmod("closed", 0)
open("suid", "w").write("x"); os.chmod("suid", 0o6777)
os.mkdir("deep"); os.chdir("deep")
for level in range(1100):
  os.mkdir("d" * 20); os.chdir("d" * 20)
open("bottom", "w").write("x"); os.symlink(outside, "out")
os.chdir(root)
if flags:
  os.mkdir("frozen"); open("frozen/file", "w").write("x"); open("appended", "w").write("x")
  subprocess.run(["chattr", "+a", "appended"], check=True)
  subprocess.run(["chattr", "+i", "frozen/file", "frozen"], check=True)
`;

/**
 * Fills a directory with them.
 *
 * @param outside a folder with a file `file`, that links lead to
 * @param sibling another volume's directory, as seen from `volumes`
 */
export function fillHostile(root: string, outside: string, sibling: string, options = { flags: true }): void {
  execFileSync('python3', ['-c', script, root, outside, sibling, options.flags ? 'flags' : 'none'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
}
