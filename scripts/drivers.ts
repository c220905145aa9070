/**
 * The software Vulkan drivers over which Node's WebGPU tests run, and the environment in which a process finds them:
 * Mesa's lavapipe, which `npm run vulkan` puts into node_modules, and SwiftShader, which lies beside Chromium.
 */
import { existsSync, globSync, realpathSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import * as chromium from './chromium.ts'

export const drivers = ['lavapipe', 'swiftshader'] as const
export type Driver = (typeof drivers)[number]
export type Environment = Readonly<Record<string, string>>

const cache = fileURLToPath(new URL('../node_modules/.cache/langevin', import.meta.url))

/** Debian's packages of lavapipe, unpacked; it is there as a whole or not at all. */
export const mesa: string = path.join(cache, 'mesa')
/** What the loader reads of a driver: lies beside the library that it names. */
export const manifest = 'lavapipe.json'

/** Without one, libraries write an error to the console. */
const runtime = { XDG_RUNTIME_DIR: process.env['XDG_RUNTIME_DIR'] ?? tmpdir() }

export function lavapipe(root: string = mesa): Environment | undefined {
  const [found] = globSync(`usr/lib/*/${manifest}`, { cwd: root })
  if (found === undefined) return undefined
  const libraries = path.dirname(found)
  return {
    ...runtime,
    VK_DRIVER_FILES: path.join(root, found),
    // Some packages still have theirs outside usr.
    LD_LIBRARY_PATH: [libraries, path.relative('usr', libraries)].map((folder) => path.join(root, folder)).join(path.delimiter),
    MESA_SHADER_CACHE_DIR: cache,
    // Enough for workgroups to meet, and tests run side by side.
    LP_NUM_THREADS: '2',
    // Half as wide as the processor: its compiler takes half as long, and compiling is nearly all that tests do.
    LP_NATIVE_VECTOR_WIDTH: '128',
  }
}

function swiftshader(): Environment | undefined {
  const folders = [chromium.executablePath ?? '', '/usr/lib/chromium/chromium'].filter(existsSync).map((file) => path.dirname(realpathSync(file)))
  const folder = folders.find((of) => existsSync(path.join(of, 'vk_swiftshader_icd.json')))
  // Chromium brings the Vulkan loader too.
  return folder === undefined ? undefined : { ...runtime, VK_DRIVER_FILES: path.join(folder, 'vk_swiftshader_icd.json'), LD_LIBRARY_PATH: folder }
}

/** What to set when a process starts, so that Dawn runs over `driver` in it; undefined where the driver is missing. */
export function environment(driver: Driver): Environment | undefined {
  return driver === 'lavapipe' ? lavapipe() : swiftshader()
}

/** Where apt has this release of Debian from, out of lines of release, component and site; rather as it has updates, for other vendors' sources have none. */
export function debianSite(targets: string, codename: string): string | undefined {
  const site = (release: string): string | undefined => new RegExp(`^${release} main (\\S+)$`, 'm').exec(targets)?.[1]
  return site(`${codename}-updates`) ?? site(codename)
}

export const remedies: Readonly<Record<Driver, string>> = {
  lavapipe: 'Run `npm run vulkan`.',
  swiftshader: 'Install chromium, or set CHROMIUM to its path.',
}
