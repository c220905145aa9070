/** The library's layers hold, and the checker that says so sees what it should. */
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { cycles, importProblems, problems } from '../scripts/rules.ts'
import { parse } from '../scripts/sources.ts'

test('the sources keep every rule', () => {
  expect(problems(path.resolve(import.meta.dirname, '..'))).toEqual([])
})

describe('the checker', () => {
  const broken = (file: string, text: string): string[] => importProblems([parse(file, text)])

  test.each([
    ['kernels/matmul.ts', `import type { Tensor } from '../engine/index.ts'`, /kernels\/ may import only kernels/],
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
    ['testing/a.ts', `import * as fc from 'fast-check'\nimport { a } from '../nn/index.ts'`],
  ])('lets %s be', (file, text) => {
    expect(broken(file, text)).toEqual([])
  })

  test('finds cycles, but not among types', () => {
    const a = parse('engine/a.ts', `import { b } from './b.ts'`)
    const value = parse('engine/b.ts', `import { a } from './a.ts'`)
    const type = parse('engine/b.ts', `import type { A } from './a.ts'`)
    expect(cycles([a, value])).toEqual([['engine/a.ts', 'engine/b.ts', 'engine/a.ts']])
    expect(cycles([a, type])).toEqual([])
  })
})
