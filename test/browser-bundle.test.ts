/** Bundles each entry of the library for browsers, from source, and looks for anything of Node in what it reaches. */
import path from 'node:path'
import { build } from 'esbuild'
import type { Metafile } from 'esbuild'
import { expect, test } from 'vitest'
import { bundle as inChunks } from '../scripts/bundle.ts'

const root = path.resolve(import.meta.dirname, '..')

async function bundle(entry: string): Promise<{ readonly metafile: Metafile; readonly text: string }> {
  const { metafile, outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: [entry],
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    platform: 'browser',
    // Left as imports, so that the test can see them.
    external: ['node:*', 'webgpu', 'fast-check'],
    logLevel: 'silent',
  })
  return { metafile, text: outputFiles.map(({ text }) => text).join('\n') }
}

test.each([
  ['engine/index.ts', []],
  ['nn/index.ts', []],
  ['diffusion/index.ts', []],
  ['kernels/index.ts', []],
  ['testing/index.ts', ['fast-check']],
  ['engine/device/cpu/worker.ts', []],
])('%s reaches nothing of Node', async (entry, externals) => {
  const { metafile, text } = await bundle(entry)
  const outside = Object.values(metafile.inputs).flatMap(({ imports }) => imports.filter((item) => item.external).map((item) => item.path))
  expect([...new Set(outside)]).toEqual(externals)
  expect(Object.keys(metafile.inputs).filter((file) => file.endsWith('.node.ts'))).toEqual([])
  expect(/\bprocess\.\w+|\bBuffer\.\w+|\b__dirname\b/.exec(text)).toBeNull()
})

test('a page loads what a device is made of when it opens it, and nothing of another', async () => {
  const { start, later } = await inChunks(root, 'engine/index.ts')
  const part = (device: string): { readonly files: readonly string[]; readonly gzip: number } => {
    const found = later.get(`engine/device/${device}.ts`)
    if (found === undefined) throw new Error(`${device} is not loaded on demand: ${[...later.keys()].join()}`)
    return found
  }
  const ofDevices = (files: readonly string[]): string[] => [...new Set(files.flatMap((file) => /^(?:kernels\/w\w+|engine\/device\/(?:cpu|webgpu|reference))\//.exec(file) ?? []))].toSorted()
  expect(ofDevices(start.files)).toEqual([])
  expect(ofDevices(part('webgpu/open').files)).toEqual(['engine/device/webgpu/', 'kernels/wgsl/'])
  expect(ofDevices(part('cpu/open').files)).toEqual(['engine/device/cpu/', 'kernels/wasm/'])
  expect(ofDevices(part('reference/backend').files)).toEqual(['engine/device/reference/'])
  // In KiB; these may only fall.
  expect(start.gzip / 1024).toBeLessThan(46)
  expect(part('webgpu/open').gzip / 1024).toBeLessThan(63)
  expect(part('cpu/open').gzip / 1024).toBeLessThan(82)
})
