/** The CPU device computes in whatever way Node was started, and its threads run nothing of the user's. */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, expect, test, vi } from 'vitest'
import { device } from '../../engine/index.ts'

const folder = mkdtempSync(path.join(tmpdir(), 'langevin-flags-'))
afterAll(() => rmSync(folder, { recursive: true }))

const engine = new URL('../../engine/index.ts', import.meta.url).href
// The first run is left to the workers.
const code = `import { device, mean, ones } from '${engine}'
  const cpu = await device('cpu', { threads: 2 })
  for (let i = 0; i < 5; i++) console.log('mean', await mean(ones([3000, 3000])).item())
  await cpu.close()
  console.log('closed')`
const program = path.join(folder, 'program.mjs')
const preload = path.join(folder, 'preload.cjs')
writeFileSync(program, code)
writeFileSync(preload, 'require("node:fs").writeSync(1, "preloaded\\n")')
const computed = `${'mean 1\n'.repeat(5)}closed\n`
const whole = `import(${JSON.stringify(program)})`

test.each<[name: string, args: readonly string[], input?: string, options?: string]>([
  ['--input-type and --eval', ['--input-type=module', '--eval', code]],
  ['--input-type and a program from stdin', ['--input-type=module', '-'], code],
  ['--experimental-strip-types and TypeScript from stdin', ['--experimental-strip-types', '--input-type=module-typescript'], code],
  ['--input-type=commonjs and -e', ['--input-type=commonjs', '-e', whole]],
  ['-e', ['-e', whole]],
  ['flags that threads may have', ['--inspect=0', '--enable-source-maps', '--conditions=none', '--stack-trace-limit=5', '--expose-gc', program]],
  ['--import, run once', ['--import', preload, program]],
  ['--require, run once', ['--require', preload, program]],
  ['--import in NODE_OPTIONS, run once', [program], '', `--import ${preload}`],
  ['--require in NODE_OPTIONS, run once', [program], '', `--require ${preload}`],
])('node with %s', (name, args, input = '', NODE_OPTIONS = '') => {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', input, env: { ...process.env, NODE_OPTIONS } })
  expect({ status, stdout, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stdout: name.endsWith('run once') ? `preloaded\n${computed}` : computed, stderr: '' })
})

test('node --watch, whose messages a device without runs gets, too', async () => {
  const idle = path.join(folder, 'idle.mjs')
  writeFileSync(idle, `import { device } from '${engine}'\nconst cpu = await device('cpu', { threads: 2 })\nsetTimeout(() => import('./program.mjs'), 200)`)
  const child = spawn(process.execPath, ['--watch', idle])
  let said = ''
  const ended = new Promise<void>((resolve) => {
    const hear = (text: unknown): void => {
      said += String(text)
      if (/Completed running|Failed running/.test(said)) resolve()
    }
    child.stdout.on('data', hear)
    child.stderr.on('data', hear)
  })
  await ended
  child.kill()
  expect(said).toContain(computed)
})

test('a worker’s file that does not exist', async () => {
  const real = URL
  vi.stubGlobal('URL', class extends real {
    constructor(url: string | URL, base?: string | URL) {
      super(String(url).endsWith('worker.ts') ? 'nowhere/worker.js' : url, base)
    }
  })
  await expect(device('cpu', { makeDefault: false })).rejects.toThrow(
    /^cpu: the file of the worker threads, file:\/\/.*\/engine\/nowhere\/worker\.js, does not exist; install langevin again, or put its dist\/node\/cpu-worker\.js there if your code is bundled$/,
  )
  vi.unstubAllGlobals()
})
