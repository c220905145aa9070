/** What can go wrong around a run ends it with one line that says what, why and what to do; the last good checkpoint stays. */
import { execFile, execFileSync } from 'node:child_process'
import { existsSync, lstatSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { encodeSafetensors } from '../../nn/checkpoint/write.ts'
import { Scratch, checkpointOf, langevin, tiny } from './langevin.ts'

const slow = { timeout: 120_000 }

test('a folder that cannot be made', slow, async () => {
  using scratch = new Scratch()
  writeFileSync(scratch.path('file'), '')
  const { code, stdout, stderr } = await langevin(`train --steps 1 ${tiny} --out ${scratch.path('file', 'runs')}`)
  expect([code, stdout]).toEqual([1, ''])
  expect(stderr).toBe(`langevin: cannot create ${scratch.path('file', 'runs')}: part of the path is a file, not a folder; choose another folder with --out (ENOTDIR)\n`)
})

test.skipIf(process.getuid?.() === 0)('a folder that cannot be written to', slow, async () => {
  using scratch = new Scratch()
  mkdirSync(scratch.path('runs'), { mode: 0o500 })
  const { code, stderr } = await langevin(`train --steps 1 ${tiny} --out ${scratch.path('runs')}`)
  expect([code, stderr]).toEqual([1, `langevin: cannot create ${scratch.path('runs', 'digits')}: permission is denied; change its permissions, or choose another folder with --out (EACCES)\n`])
})

test('a folder that a failed run left empty is used', slow, async () => {
  using scratch = new Scratch()
  mkdirSync(scratch.path('digits'))
  const { code } = await langevin(`train --steps 1 ${tiny} --out ${scratch.folder} --name digits`)
  expect([code, readdirSync(scratch.path('digits')).length]).toEqual([0, 5])
})

test('nothing to resume', slow, async () => {
  using scratch = new Scratch()
  const { code, stderr } = await langevin(`train --resume ${scratch.folder}`)
  expect([code, stderr]).toEqual([1, `langevin: ${scratch.folder} holds no run: there is no ${scratch.path('checkpoint.safetensors')}; pass the folder of a run that langevin train made\n`])
})

test.each([
  ['foreign', encodeSafetensors(new Map(), { format: 'pt' }), 'is a safetensors file, but not of a training run (its format is pt); pass a checkpoint that langevin train wrote'],
  ['not safetensors', new TextEncoder().encode('hello, world'), 'its header should have'],
  ['empty', new Uint8Array(), 'it has 0 bytes, fewer than the 8 that a header takes; the file is damaged or not a safetensors file'],
])('a checkpoint that is %s', slow, async (_, bytes, message) => {
  using scratch = new Scratch()
  writeFileSync(scratch.path('checkpoint.safetensors'), bytes)
  const { code, stderr } = await langevin(`train --resume ${scratch.folder}`)
  expect(code).toBe(1)
  expect(stderr).toMatch(/^langevin: [^\n]+\n$/)
  expect(stderr).toContain(scratch.path('checkpoint.safetensors'))
  expect(stderr).toContain(message)
})

test('a checkpoint cut short, and options that contradict a whole one', slow, async () => {
  using scratch = new Scratch()
  const run = scratch.path('digits')
  expect((await langevin(`train --steps 1 ${tiny} --out ${scratch.folder}`)).code).toBe(0)
  const other = await langevin(`train --resume ${run} --batch 3`)
  expect([other.code, other.stderr]).toEqual([2, 'langevin: the run began with --batch 2 and cannot go on with 3; leave the option out\n'])
  writeFileSync(path.join(run, 'checkpoint.safetensors'), checkpointOf(run).bytes.subarray(0, -1000))
  const { code, stderr } = await langevin(`train --resume ${run}`)
  expect([code, stderr.split('\n').length]).toEqual([1, 2])
  expect(stderr).toMatch(/tensor \S+ ends at byte \d+ but the file holds only \d+ bytes of tensors; the file is damaged/)
})

test('a loss that is no number', slow, async () => {
  using scratch = new Scratch()
  const { code, stderr } = await langevin(`train --steps 50 --rate 1e30 ${tiny} --out ${scratch.folder}`)
  expect(code).toBe(1)
  const file = scratch.path('digits', 'checkpoint.safetensors')
  expect(stderr).toMatch(/^langevin: the loss is \S+ and the gradient's norm \S+ at step \d+\. Lower the learning rate, or clip the gradients\. The last good checkpoint is \S+, of step 0\n$/)
  expect(stderr).toContain(file)
  expect(checkpointOf(scratch.path('digits')).checkpoint.step).toBe(0)
})

const commands = { mount: 'mount', unmount: 'umount' } as const

/** A file system with those options, if this process may make one. */
function mounted(folder: string, options: string): boolean {
  try {
    mkdirSync(folder)
    execFileSync(commands.mount, ['-t', 'tmpfs', '-o', options, 'tmpfs', folder], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

test('a full disk', slow, async (context) => {
  using scratch = new Scratch()
  const disk = scratch.path('disk')
  if (!mounted(disk, 'size=16m')) return context.skip('needs the right to mount a small file system')
  try {
    // One checkpoint fits; a second beside it, while it is replaced, does not.
    const { code, stderr } = await langevin(`train --steps 50 --save-every 3 ${tiny} --out ${disk}`)
    const run = path.join(disk, 'digits')
    const file = path.join(run, 'checkpoint.safetensors')
    expect([code, stderr]).toEqual([1, `langevin: cannot write ${file}: the disk is full; free some space (ENOSPC). The last good checkpoint is ${file}, of step 0; go on with: node cli/main.ts train --resume ${run}\n`])
    expect(checkpointOf(run).checkpoint.step).toBe(0)
    expect(readdirSync(run).filter((name) => name.endsWith('.tmp'))).toEqual([])
  } finally {
    execFileSync(commands.unmount, [disk])
  }
})

test('a read-only disk', slow, async (context) => {
  using scratch = new Scratch()
  const disk = scratch.path('disk')
  if (!mounted(disk, 'ro')) return context.skip('needs the right to mount a small file system')
  try {
    for (const [out, wanted] of [[disk, path.join(disk, 'digits')], [path.join(disk, 'a', 'b'), path.join(disk, 'a', 'b')]] as const) {
      const { code, stderr } = await langevin(`train --steps 1 ${tiny} --out ${out}`)
      expect([code, stderr]).toEqual([1, expect.stringMatching(/^langevin: cannot create \S+: the file system is read-only; choose another folder with --out \(EROFS\)\n$/)])
      expect(wanted).toContain(/cannot create (\S+):/.exec(stderr)?.[1])
    }
  } finally {
    execFileSync(commands.unmount, [disk])
  }
})

const isLinux = process.platform === 'linux'

test.skipIf(!isLinux).each(['/proc', '/proc/self/runs', '/proc/new/runs'])('a file system that takes no folders: %s', slow, async (out) => {
  const { code, stderr } = await langevin(`train --steps 1 ${tiny} --out ${out}`)
  expect([code, stderr]).toEqual([1, expect.stringMatching(/^langevin: cannot create \/proc\/\S+: its file system takes no new folders there; choose another folder with --out \(ENOENT\)\n$/)])
})

test('folders above a run are made as deep as they are asked for', slow, async () => {
  using scratch = new Scratch()
  const { code } = await langevin(`train --steps 1 ${tiny} --out ${scratch.path('a', 'b', 'c')}`)
  expect([code, existsSync(scratch.path('a', 'b', 'c', 'digits', 'samples.png'))]).toEqual([0, true])
})

describe.skipIf(!isLinux)('an output that takes nothing', () => {
  const full = { output: '/dev/full' }
  const message = 'langevin: cannot write standard output: the disk is full; free some space (ENOSPC)'

  test.each(['--help', '--version', 'info --threads 1'])('langevin %s', slow, async (line) => {
    const { code, stderr } = await langevin(line, full)
    expect([code, stderr]).toEqual([1, `${message}\n`])
  })

  test('a run that is being trained is saved, and says so where it can', slow, async () => {
    using scratch = new Scratch()
    const run = scratch.path('digits')
    const { code, stderr } = await langevin(`train --steps 100000 ${tiny} --out ${scratch.folder}`, full)
    const { step } = checkpointOf(run).checkpoint
    expect([code, stderr]).toEqual([1, `${message}. The last good checkpoint is ${path.join(run, 'checkpoint.safetensors')}, of step ${step}; go on with: node cli/main.ts train --resume ${run}\n`])
  })
})

test.skipIf(!isLinux)('what is no file is written into, and stays what it is', slow, async () => {
  using scratch = new Scratch()
  expect((await langevin(`train --steps 2 ${tiny} --out ${scratch.folder} --name run`)).code).toBe(0)
  const [run, pipe] = [scratch.path('run'), scratch.path('pipe')]
  execFileSync('mkfifo', [pipe])
  const reader = promisify(execFile)('cat', [pipe], { encoding: 'buffer' })
  const { code, stderr } = await langevin(`sample --run ${run} --count 1 --sampling 2 --file ${pipe}`)
  expect([code, stderr]).toEqual([0, ''])
  expect((await reader).stdout.subarray(1, 4).toString()).toBe('PNG')
  expect(lstatSync(pipe).isFIFO()).toBe(true)
  const full = await langevin(`sample --run ${run} --count 1 --sampling 2 --file /dev/full`)
  expect([full.code, lstatSync('/dev/full').isCharacterDevice()]).toEqual([1, true])
  expect(full.stderr).toContain('cannot write /dev/full: the disk is full')

  const fewer = await langevin(`train --resume ${run} --steps 1`)
  expect([fewer.code, fewer.stderr]).toEqual([2, expect.stringContaining('the run has taken 2 steps and cannot end with --steps 1; give a larger number, or leave the option out')])
})

test('a command line that makes no sense', slow, async () => {
  const { code, stdout, stderr } = await langevin('train --steps none')
  expect([code, stdout, stderr]).toEqual([2, '', 'langevin: --steps is none, but must be an integer from 1 to 1000000000\n'])
})

test('--verbose says all there is to know', slow, async () => {
  const { code, stderr } = await langevin('train --resume /nowhere --verbose')
  expect(code).toBe(1)
  expect(stderr).toMatch(/^langevin: FileError: \/nowhere holds no run[^\n]*\n {4}at /)
})

test('a list of devices', slow, async () => {
  const { stdout } = await langevin('devices')
  expect(stdout).toMatch(/^webgpu   .*\n(?: .*\n)*\ncpu {6}CPU, .*\n {9}instructions .*\n {9}matmul: ok\n {9}softmax: ok\n {9}random bits: ok\n$/)
})

test('info and --version', slow, async () => {
  const { code, stdout } = await langevin('info --threads 1')
  expect(code).toBe(0)
  expect(stdout).toMatch(/^langevin +\d+\.\d+\.\d+\nnode +v/)
  expect(stdout).toMatch(/\ndevice +CPU.*1 worker thread/)
  expect((await langevin('--version')).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
})
