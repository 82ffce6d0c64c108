//! Who is near: where the devices of a namespace are that say so, by latitude. It is read from the store when somebody asks for the
//! first time, and kept up to date from then on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidings_model::{Ordinal, Profile};
use tidings_store::{Device, StoreError};

use crate::devices::Filter;
use crate::{Namespace, Node};

/// Most devices that are answered.
pub const NEAR_MAX: usize = 1_000;

/// The radius of the earth in kilometres, as Redis has it.
const EARTH_KM: f64 = 6_372.797_560_856;

/// Devices that are read together.
const READ: usize = 1_000;

/// A place on earth, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Place {
    longitude: f64,
    latitude: f64,
}

impl Place {
    /// `None` when that is nowhere on earth.
    pub(super) fn new(longitude: f64, latitude: f64) -> Option<Self> {
        let there = (-180.0..=180.0).contains(&longitude) && (-90.0..=90.0).contains(&latitude);
        there.then_some(Self { longitude, latitude })
    }

    /// How far another one is, in kilometres.
    fn distance(self, other: Self) -> f64 {
        let (one, two) = (self.latitude.to_radians(), other.latitude.to_radians());
        let up = ((two - one) / 2.0).sin();
        let aside = ((other.longitude - self.longitude).to_radians() / 2.0).sin();
        2.0 * EARTH_KM * (up * up + one.cos() * two.cos() * aside * aside).sqrt().min(1.0).asin()
    }

    /// The latitudes of what is within so many kilometres.
    fn band(self, radius_km: f64) -> RangeInclusive<(i64, u32)> {
        let degrees = (radius_km / EARTH_KM).to_degrees();
        (micro(self.latitude - degrees) - 1, 0)..=(micro(self.latitude + degrees) + 1, u32::MAX)
    }
}

/// Millionths of a degree.
fn micro(degrees: f64) -> i64 {
    (degrees * 1e6).round() as i64
}

/// Where the devices of a namespace are.
#[derive(Debug, Default)]
pub(crate) struct Places {
    index: Mutex<Index>,
    /// Whoever reads them for the first time has this.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Index {
    state: State,
    of: HashMap<u32, Place>,
    by_latitude: BTreeMap<(i64, u32), f64>,
    /// What became known while the others are read: what is read of these is older.
    newer: HashSet<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nobody has asked.
    #[default]
    Unread,
    Reading,
    Read,
}

impl Index {
    fn set(&mut self, device: u32, place: Option<Place>) {
        if let Some(old) = self.of.remove(&device) {
            self.by_latitude.remove(&(micro(old.latitude), device));
        }
        if let Some(place) = place {
            self.of.insert(device, place);
            self.by_latitude.insert((micro(place.latitude), device), place.longitude);
        }
    }

    /// Those within so many kilometres, nearest first.
    fn near(&self, place: Place, radius_km: f64) -> Vec<(Ordinal, f64)> {
        let within = self.by_latitude.range(place.band(radius_km)).filter_map(|((_, device), _)| {
            let distance = place.distance(*self.of.get(device)?);
            (distance <= radius_km).then_some((Ordinal(*device), distance))
        });
        let mut near: Vec<_> = within.collect();
        near.sort_unstable_by(|(one, near), (other, far)| near.total_cmp(far).then(one.cmp(other)));
        near
    }
}

impl Places {
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept of a device has changed, on disk too.
    pub(crate) fn changed(&self, device: Ordinal, profile: &Profile) {
        if self.index().state != State::Unread {
            self.put(device, Place::of(profile));
        }
    }

    /// A device is not there any more.
    pub(crate) fn gone(&self, device: Ordinal) {
        self.put(device, None);
    }

    fn put(&self, device: Ordinal, place: Option<Place>) {
        let mut index = self.index();
        match index.state {
            // Whoever reads it from now on reads what is on disk.
            State::Unread => return,
            State::Reading => drop(index.newer.insert(device.0)),
            State::Read => {}
        }
        index.set(device.0, place);
    }
}

impl Node {
    /// Who is within so many kilometres of a device, nearest first, each with how far that is, at most `count` and
    /// [`NEAR_MAX`]; the device itself is not among them. `None` when it does not say where it is.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn light_push_near(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        device: Ordinal,
        radius_km: f64,
        count: usize,
    ) -> Result<Option<Vec<(Device, f64)>>, StoreError> {
        let Some(own) = self.known(namespace, device).await? else { return Ok(None) };
        let Some(place) = Place::of(&own.profile) else { return Ok(None) };
        self.read_places(namespace).await?;
        let mut near = namespace.light_push.places.index().near(place, radius_km.clamp(0.0, 20_100.0));
        near.retain(|(other, _)| *other != device);
        let (count, mut found) = (count.min(NEAR_MAX), Vec::new());
        for some in near.chunks(count.max(1)) {
            if found.len() == count {
                break;
            }
            let there = self.still_there(namespace, some.iter().map(|(other, _)| *other).collect()).await?;
            let far = there.into_iter().filter_map(|device| {
                let (_, distance) = some.iter().find(|(other, _)| *other == device.ordinal)?;
                Some((device, *distance))
            });
            found.extend(far);
        }
        found.truncate(count);
        Ok(Some(found))
    }

    /// Reads where everybody is, unless that is known.
    async fn read_places(&self, namespace: &Namespace) -> Result<(), StoreError> {
        let places = &namespace.light_push.places;
        let _turn = places.reading.lock().await;
        {
            let mut index = places.index();
            if index.state == State::Read {
                return Ok(());
            }
            *index = Index { state: State::Reading, ..Index::default() };
        }
        let mut after = None;
        loop {
            let (devices, next) = self.devices_of(namespace, &Filter::default(), after, READ).await?;
            let mut index = places.index();
            for (device, _) in devices {
                if !index.newer.contains(&device.ordinal.0) {
                    index.set(device.ordinal.0, Place::of(&device.profile));
                }
            }
            match next {
                Some(next) => after = Some(next),
                None => {
                    index.newer = HashSet::new();
                    index.state = State::Read;
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_earth() {
        let place = |longitude, latitude| Place::new(longitude, latitude).unwrap();
        for (one, other, km) in [
            // The example of Redis: Palermo and Catania.
            (place(13.361_389, 38.115_556), place(15.087_269, 37.502_669), 166.274),
            (place(0.0, 0.0), place(180.0, 0.0), 20_020.7),
            (place(179.9, 0.0), place(-179.9, 0.0), 22.245),
            (place(10.0, 90.0), place(-170.0, 90.0), 0.0),
        ] {
            let distance = one.distance(other);
            assert!((distance - km).abs() < km / 1_000.0 + 1e-6, "{one:?} {other:?}: {distance}, not {km}");
        }
        assert_eq!(Place::new(181.0, 0.0), None);
        assert_eq!(Place::new(0.0, f64::NAN), None);
    }

    #[test]
    fn who_is_near_is_found_nearest_first() {
        let mut index = Index::default();
        let place = |longitude, latitude| Place::new(longitude, latitude);
        for (device, at) in
            [(1, place(0.0, 0.0)), (2, place(0.05, 0.0)), (3, place(0.0, 0.01)), (4, place(0.0, 1.0))]
        {
            index.set(device, at);
        }
        let near = |index: &Index, km| {
            let near = index.near(Place::new(0.0, 0.0).unwrap(), km);
            near.into_iter().map(|(device, _)| device.0).collect::<Vec<_>>()
        };
        assert_eq!(near(&index, 10.0), [1, 3, 2]);
        assert_eq!(near(&index, 0.0), [1]);
        assert_eq!(near(&index, 30_000.0), [1, 3, 2, 4]);
        index.set(3, None);
        index.set(2, place(0.0, 2.0));
        assert_eq!(near(&index, 10.0), [1]);
        assert_eq!(near(&index, 300.0), [1, 4, 2]);
    }
}
