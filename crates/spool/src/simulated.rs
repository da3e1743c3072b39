//! A disk for tests: in memory, deterministic, and as unkind as a real one may be. What is not synced may be lost, torn
//! or kept in any order when the power goes; a sync can fail and lose what it was to save; the disk can be full.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Claim, Disk, File};

/// Octets that a power cut keeps or loses together.
const SECTOR_BYTES: usize = 512;

/// What goes wrong, and when. Calls are counted from 1, over all that change or sync something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The power goes during this call: it may have had its effect, partly or not at all, and every later call fails.
    PowerCut(u64),
    /// This call fails. A failed sync loses what it was to make durable.
    Failure(u64),
    /// This call and all later ones fail, until the fault is changed.
    FailureFrom(u64),
}

/// The simulated disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    world: Arc<Mutex<World>>,
    claimed: Arc<AtomicBool>,
}

struct World {
    names: BTreeMap<String, Inode>,
    durable_names: BTreeMap<String, Inode>,
    /// Changes of names since the last sync of the folder.
    name_changes: Vec<NameChange>,
    inodes: Vec<Octets>,
    calls: u64,
    fault: Fault,
    dead: bool,
    capacity_bytes: u64,
    dice: u64,
}

type Inode = usize;

#[derive(Clone)]
enum NameChange {
    Create(String, Inode),
    Rename(String, String),
    Unlink(String),
}

#[derive(Clone, Default)]
struct Octets {
    /// What reads see.
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Unsynced changes, in order.
    changes: Vec<OctetChange>,
    /// Octets that count against the capacity.
    reserved: u64,
}

#[derive(Clone)]
enum OctetChange {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

impl SimulatedDisk {
    /// An empty disk. The same seed brings the same misfortunes.
    pub fn new(seed: u64) -> SimulatedDisk {
        SimulatedDisk {
            world: Arc::new(Mutex::new(World {
                names: BTreeMap::new(),
                durable_names: BTreeMap::new(),
                name_changes: Vec::new(),
                inodes: Vec::new(),
                calls: 0,
                fault: Fault::None,
                dead: false,
                capacity_bytes: u64::MAX,
                dice: seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15),
            })),
            claimed: Arc::default(),
        }
    }

    /// Lets something go wrong. Calls are counted from the start of the disk.
    pub fn set_fault(&self, fault: Fault) {
        self.lock().fault = fault;
    }

    /// How many octets the files may take together.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity_bytes = bytes;
    }

    /// How many calls changed or synced something so far.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Whether the power went.
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// Octets that the files take.
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// What a machine finds after the power came back: all that was synced, and of the rest whatever the dice say,
    /// sector by sector.
    pub fn after_power_cut(&self, seed: u64) -> SimulatedDisk {
        let old = self.lock();
        let disk = SimulatedDisk::new(seed);
        {
            let mut new = disk.lock();
            let names = old.names_after(&mut new);
            for (name, inode) in names {
                let octets = old.inodes[inode].after_power_cut(&mut new);
                new.inodes.push(octets);
                let inode = new.inodes.len() - 1;
                new.names.insert(name.clone(), inode);
                new.durable_names.insert(name, inode);
            }
            new.capacity_bytes = old.capacity_bytes;
        }
        disk
    }

    /// Changes an octet of a file, as a failing medium would.
    ///
    /// # Panics
    /// When there is no such file or octet.
    pub fn damage(&self, name: &str, offset: usize) {
        let mut world = self.lock();
        let inode = world.names[name];
        let octets = &mut world.inodes[inode];
        octets.seen[offset] ^= 0x55;
        if let Some(byte) = octets.durable.get_mut(offset) {
            *byte ^= 0x55;
        }
    }

    /// The octets of a file, as reads see them.
    pub fn octets(&self, name: &str) -> Option<Vec<u8>> {
        let world = self.lock();
        let inode = *world.names.get(name)?;
        Some(world.inodes[inode].seen.clone())
    }

    /// All names, those in `damaged/` too.
    pub fn names(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    fn file(&self, inode: Inode) -> Arc<dyn File> {
        let disk = self.clone();
        Arc::new(SimulatedFile { disk, inode })
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a call is to answer once it has acted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Act,
    /// The power goes.
    Cut,
    Fail,
}

impl Turn {
    fn answer(self) -> io::Result<()> {
        match self {
            Turn::Act => Ok(()),
            Turn::Cut | Turn::Fail => Err(broken()),
        }
    }
}

impl World {
    /// The next call's turn, unless it fails without any effect.
    fn act(&mut self) -> io::Result<Turn> {
        match self.turn() {
            Turn::Fail => Err(broken()),
            turn => Ok(turn),
        }
    }

    fn turn(&mut self) -> Turn {
        self.calls += 1;
        if self.dead {
            return Turn::Fail;
        }
        match self.fault {
            Fault::PowerCut(call) if self.calls >= call => {
                self.dead = true;
                Turn::Cut
            }
            Fault::Failure(call) if self.calls == call => Turn::Fail,
            Fault::FailureFrom(call) if self.calls >= call => Turn::Fail,
            Fault::None | Fault::PowerCut(_) | Fault::Failure(_) | Fault::FailureFrom(_) => Turn::Act,
        }
    }

    fn roll(&mut self) -> u64 {
        // SplitMix64.
        self.dice = self.dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn used_bytes(&self) -> u64 {
        let inodes = self.names.values();
        inodes.map(|&inode| self.inodes[inode].used_bytes()).sum()
    }

    /// A change of names that any call may make: none, or all of a beginning, or any of them.
    fn names_after(&self, new: &mut World) -> BTreeMap<String, Inode> {
        let mut names = self.durable_names.clone();
        let in_order = new.roll().is_multiple_of(2);
        let beginning = new.roll() as usize % (self.name_changes.len() + 1);
        for (index, change) in self.name_changes.iter().enumerate() {
            let happens = if in_order {
                index < beginning
            } else {
                new.roll().is_multiple_of(2)
            };
            if happens {
                change.apply(&mut names);
            }
        }
        names
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, Inode>) {
        match self {
            NameChange::Create(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            NameChange::Unlink(name) => {
                names.remove(name);
            }
        }
    }
}

impl Octets {
    fn used_bytes(&self) -> u64 {
        self.reserved.max(self.seen.len() as u64)
    }

    fn after_power_cut(&self, new: &mut World) -> Octets {
        let mut durable = self.durable.clone();
        for change in &self.changes {
            match change {
                OctetChange::Write(offset, bytes) => {
                    let offset = *offset as usize;
                    let mut at = 0;
                    while at < bytes.len() {
                        let sector_end = (offset + at + 1).next_multiple_of(SECTOR_BYTES) - offset;
                        let end = sector_end.min(bytes.len());
                        if new.roll().is_multiple_of(2) {
                            write(&mut durable, offset + at, &bytes[at..end]);
                        }
                        at = end;
                    }
                }
                OctetChange::Truncate(bytes) => {
                    if new.roll().is_multiple_of(2) {
                        durable.truncate(*bytes as usize);
                    }
                }
            }
        }
        Octets {
            seen: durable.clone(),
            reserved: durable.len() as u64,
            durable,
            changes: Vec::new(),
        }
    }
}

fn write(octets: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if octets.len() < offset + bytes.len() {
        octets.resize(offset + bytes.len(), 0);
    }
    octets[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn broken() -> io::Error {
    io::Error::other("the simulated disk failed")
}

impl Disk for SimulatedDisk {
    fn lock(&self) -> io::Result<Box<dyn Claim>> {
        if self.claimed.swap(true, Ordering::AcqRel) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimulatedClaim(Arc::clone(&self.claimed))))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let world = SimulatedDisk::lock(self);
        if world.dead {
            return Err(broken());
        }
        let names = world.names.keys();
        Ok(names.filter(|name| !name.contains('/')).cloned().collect())
    }

    fn create(&self, name: &str, bytes_reserved: u64) -> io::Result<Arc<dyn File>> {
        let mut world = SimulatedDisk::lock(self);
        let turn = world.act()?;
        if world.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if world.used_bytes().saturating_add(bytes_reserved) > world.capacity_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = world.inodes.len();
        let reserved = vec![0; bytes_reserved as usize];
        world.inodes.push(Octets {
            seen: reserved.clone(),
            durable: reserved,
            changes: Vec::new(),
            reserved: bytes_reserved,
        });
        world.names.insert(name.to_owned(), inode);
        world
            .name_changes
            .push(NameChange::Create(name.to_owned(), inode));
        turn.answer()?;
        Ok(self.file(inode))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let world = SimulatedDisk::lock(self);
        if world.dead {
            return Err(broken());
        }
        let inode = *world.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = SimulatedDisk::lock(self);
        let turn = world.act()?;
        if !world.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        change.apply(&mut world.names);
        world.name_changes.push(change);
        turn.answer()
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let mut world = SimulatedDisk::lock(self);
        let turn = world.act()?;
        if world.names.remove(name).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.name_changes.push(NameChange::Unlink(name.to_owned()));
        turn.answer()
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut world = SimulatedDisk::lock(self);
        match world.turn() {
            Turn::Act => {
                world.durable_names = world.names.clone();
                world.name_changes.clear();
                Ok(())
            }
            Turn::Cut | Turn::Fail => Err(broken()),
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let world = SimulatedDisk::lock(self);
        Ok(world.capacity_bytes.saturating_sub(world.used_bytes()))
    }

    fn roll(&self) -> u64 {
        SimulatedDisk::lock(self).roll()
    }
}

struct SimulatedClaim(Arc<AtomicBool>);

impl Claim for SimulatedClaim {}

impl Drop for SimulatedClaim {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    inode: Inode,
}

impl File for SimulatedFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.disk.lock();
        let turn = world.act()?;
        let octets = &world.inodes[self.inode];
        let grows = (offset + bytes.len() as u64).saturating_sub(octets.used_bytes());
        if world.used_bytes().saturating_add(grows) > world.capacity_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let octets = &mut world.inodes[self.inode];
        write(&mut octets.seen, offset as usize, bytes);
        octets.changes.push(OctetChange::Write(offset, bytes.to_vec()));
        turn.answer()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.disk.lock();
        if world.dead {
            return Err(broken());
        }
        let seen = &world.inodes[self.inode].seen;
        let rest = seen.get(offset as usize..).unwrap_or(&[]);
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.disk.lock();
        let turn = world.turn();
        let dead = world.dead;
        let octets = &mut world.inodes[self.inode];
        match turn {
            Turn::Act => {
                // What an earlier failed sync lost stays lost, though reads still see it.
                for change in std::mem::take(&mut octets.changes) {
                    match change {
                        OctetChange::Write(offset, bytes) => {
                            write(&mut octets.durable, offset as usize, &bytes)
                        }
                        OctetChange::Truncate(bytes) => octets.durable.truncate(bytes as usize),
                    }
                }
                Ok(())
            }
            Turn::Cut => Err(broken()),
            Turn::Fail => {
                // The kernel marks the pages clean: they are seen until they are evicted, and never written.
                if !dead {
                    octets.changes.clear();
                }
                Err(broken())
            }
        }
    }

    fn bytes(&self) -> io::Result<u64> {
        let world = self.disk.lock();
        Ok(world.inodes[self.inode].seen.len() as u64)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let mut world = self.disk.lock();
        let turn = world.act()?;
        let octets = &mut world.inodes[self.inode];
        octets.seen.truncate(bytes as usize);
        octets.reserved = octets.reserved.min(bytes);
        octets.changes.push(OctetChange::Truncate(bytes));
        turn.answer()
    }
}
