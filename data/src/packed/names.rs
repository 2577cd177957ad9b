//! What the classes are called.

use super::PackedKind;

const CLOTHES: &str = "T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle_boot";

const TEN: &str = "airplane automobile bird cat deer dog frog horse ship truck";

const HUNDRED: &str = "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly \
    camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur \
    dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard \
    lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear \
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark \
    shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone \
    television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm";

/// The names of the classes, in the order of their numbers.
pub(super) fn of(kind: PackedKind) -> Vec<String> {
    let words = |names: &str| names.split_whitespace().map(str::to_owned).collect::<Vec<String>>();
    match kind {
        PackedKind::Mnist => (0..10).map(|digit| digit.to_string()).collect(),
        PackedKind::FashionMnist => {
            words(CLOTHES).into_iter().map(|name| name.replace('_', " ")).collect()
        }
        PackedKind::Cifar10 => words(TEN),
        PackedKind::Cifar100 => words(HUNDRED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_labels() {
        use PackedKind::*;
        let counts = [Mnist, FashionMnist, Cifar10, Cifar100].map(|kind| of(kind).len());
        assert_eq!(counts, [10, 10, 10, 100]);
        assert!(of(Cifar100).is_sorted());
        assert_eq!(of(FashionMnist)[9], "Ankle boot");
    }
}
