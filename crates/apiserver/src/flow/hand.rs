//! Shuffle sharding: which queues a flow may use. Two flows rarely have the same, so that one which fills its queues
//! leaves most others a queue of their own. Pure.

/// Deals `size` different queues of `deck` from a hash: the hash is read as a number with one digit for each card.
pub fn deal(mut hash: u64, deck: usize, size: usize) -> Vec<usize> {
    let size = size.min(deck);
    let mut hand: Vec<usize> = Vec::with_capacity(size);
    for left in (deck - size + 1..=deck).rev() {
        let left = left as u64;
        let mut card = (hash % left) as usize;
        hash /= left;
        // Counted among the cards that are still in the deck.
        let mut taken = hand.clone();
        taken.sort_unstable();
        for other in taken {
            if card >= other {
                card += 1;
            }
        }
        hand.push(card);
    }
    hand
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_hand_has_different_cards_of_the_deck(hash: u64, deck in 1usize..200, size in 1usize..10) {
            let mut hand = deal(hash, deck, size);
            prop_assert_eq!(hand.len(), size.min(deck));
            prop_assert!(hand.iter().all(|card| *card < deck));
            hand.sort_unstable();
            hand.dedup();
            prop_assert_eq!(hand.len(), size.min(deck));
        }
    }

    #[test]
    fn all_cards_are_dealt_alike() {
        let mut counts = [0; 8];
        for hash in 0..8 * 7 * 1000 {
            for card in deal(hash, 8, 2) {
                counts[card] += 1;
            }
        }
        assert_eq!(counts, [14_000; 8]);
    }
}
