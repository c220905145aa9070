/** The library's layers hold, and the checker that says so sees what it should. */
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { debianSite } from '../scripts/drivers.ts'
import { budgetProblems, cycles, hostProblems, importProblems, problems } from '../scripts/rules.ts'
import { budgets, parse } from '../scripts/sources.ts'
import type { Source } from '../scripts/sources.ts'

test('the sources keep every rule', () => {
  expect(problems(path.resolve(import.meta.dirname, '..'))).toEqual([])
})

describe('the checker', () => {
  const broken = (file: string, text: string): string[] => importProblems([parse(file, text)])

  test.each([
    ['kernels/matmul.ts', `import type { Tensor } from '../engine/index.ts'`, /kernels\/ may import only kernels/],
    ['kernels/wasm/norm/a.ts', `import { b } from '../attention/b.ts'`, /norm may import only norm, core, ir, of its own target/],
    ['kernels/wasm/core/a.ts', `import type { B } from '../matmul/b.ts'`, /core may import only core, ir/],
    ['kernels/wgsl/core/a.ts', `import { b } from '../../wasm/core/b.ts'`, /of its own target/],
    ['kernels/ir/a.ts', `import { b } from '../wasm/core/b.ts'`, /ir may import only ir/],
    ['kernels/wasm/misc/a.ts', `import { b } from '../core/b.ts'`, /no known family/],
    ['engine/tensor.ts', `export { Linear } from '../nn/linear.ts'`, /may import only engine, kernels/],
    ['nn/linear.ts', `import {\n  a,\n  b,\n} from '../diffusion/a.ts'`, /may import only nn, engine, kernels/],
    ['diffusion/a.ts', `const x = await import('../cli/main.ts')`, /may import only/],
    ['engine/a.ts', `import { readFile } from 'node:fs/promises'`, /belong in \*\.node\.ts/],
    ['engine/a.ts', `import 'lodash'`, /has no dependencies/],
    ['nn/a.ts', `import * as fc from 'fast-check'`, /has no dependencies/],
    ['engine/a.ts', `import { create } from 'webgpu'`, /has no dependencies/],
    ['engine/a.ts', `import { platform } from './platform.node.ts'`, /picks the twin/],
    ['engine/a.ts', `import { b } from './b.js'`, /write the extension \.ts/],
    ['engine/a.ts', `new Worker(new URL('../nn/worker.ts', import.meta.url))`, /may import only/],
  ])('%s: %s', (file, text, problem) => {
    expect(broken(file, text)).toEqual([expect.stringMatching(problem)])
  })

  test.each([
    ['cli/main.ts', `import { readFile } from 'node:fs'\nimport { unet } from '../diffusion/index.ts'`],
    ['engine/platform.node.ts', `import { Worker } from 'node:worker_threads'\nawait import('webgpu')`],
    ['engine/a.ts', `import { platform } from '#platform'\n// import 'lodash'\n/** as import('lodash') does */`],
    ['kernels/wasm/conv/a.ts', `import { b } from '../matmul/b.ts'\nimport { c } from '../core/c.ts'\nimport { d } from '../../ir/d.ts'`],
    ['testing/a.ts', `import * as fc from 'fast-check'\nimport { a } from '../nn/index.ts'`],
  ])('lets %s be', (file, text) => {
    expect(broken(file, text)).toEqual([])
  })

  // Put together here, for this file is checked too.
  const host = (...labels: readonly string[]): string => labels.join('.')

  test.each([
    host('deb', 'debian', 'org'), host('ftp', 'de', 'debian', 'org'), host('archive', 'ubuntu', 'com'), host('registry', 'npmjs', 'org'), host('registry', 'yarnpkg', 'com'), host('pypi', 'org'),
    host('files', 'pythonhosted', 'org'), host('download', 'pytorch', 'org'), host('conda', 'anaconda', 'org'), host('cdn', 'jsdelivr', 'net'), host('esm', 'sh'), host('ghcr', 'io'), host('docker', 'io'),
    host('DEB', 'Debian', 'ORG'),
  ])('finds the host %s, whatever stands around it', (name) => {
    const problem = (line: number): string => `docs/a.md:${line} names ${name}, where packages come from: leave that to the configuration of the machine`
    expect(hostProblems('docs/a.md', `one\nfrom "https://${name}/simple/"\n${name}`)).toEqual([problem(2), problem(3)])
    expect(hostProblems('docs/a.md', `image: ${name}:443/x`)).toEqual([problem(1)])
  })

  test('lets other hosts be, and names of packages', () => {
    expect(hostProblems('a.json', 'https://github.com/a/b https://example.org pip install torch; node:24-bookworm; ghcr; my-pypi.organ esm.shell "sha512-ghcr/io"')).toEqual([])
  })

  test('finds folders that grew', () => {
    const long = (lines: number): Source => parse('kernels/a.ts', '\n'.repeat(lines))
    const { kernels = 0 } = budgets
    expect(budgetProblems([long(kernels)])).toEqual([])
    expect(budgetProblems([long(kernels), long(1)])).toEqual([expect.stringContaining(`kernels/ has ${kernels + 1} lines: at most ${kernels}`)])
  })

  test('finds cycles, but not among types', () => {
    const a = parse('engine/a.ts', `import { b } from './b.ts'`)
    const value = parse('engine/b.ts', `import { a } from './a.ts'`)
    const type = parse('engine/b.ts', `import type { A } from './a.ts'`)
    expect(cycles([a, value])).toEqual([['engine/a.ts', 'engine/b.ts', 'engine/a.ts']])
    expect(cycles([a, type])).toEqual([])
  })
})

describe('the site that lavapipe is fetched from', () => {
  const docker = 'bookworm stable https://docker.example/linux'
  const vendor = 'bookworm main https://vendor.example/apt'
  const security = 'bookworm-security main http://mirror.example/debian-security'

  test.each([
    ['the one with updates', [vendor, security, 'bookworm main http://mirror.example/debian', 'bookworm-updates main http://mirror.example/debian'], 'http://mirror.example/debian'],
    ['the only one', [docker, security, 'bookworm contrib http://other.example/', 'bookworm main file:/srv/debian'], 'file:/srv/debian'],
    ['none', [docker, security, 'trixie main http://mirror.example/debian'], undefined],
    ['none at all', [], undefined],
  ])('%s', (_, targets, site) => {
    expect(debianSite(targets.join('\n'), 'bookworm')).toBe(site)
  })
})
