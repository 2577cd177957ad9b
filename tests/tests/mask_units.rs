//! Permutations of mask units against the published order of patches.

use longmae_masking::{MaskCount, MaskDesign, MaskPlan};
use longmae_patching::PatchGrid;
use longmae_tests::{fixtures, ids};

#[test]
fn unit_orders_give_the_published_ids() {
    for fixture in fixtures("mask_units") {
        let cases: Vec<_> = fixture
            .below("")
            .iter()
            .filter_map(|(name, _)| name.strip_suffix(".unit_perm").map(str::to_owned))
            .collect();
        assert!(cases.len() >= 5, "{}", fixture.path.display());
        for case in cases {
            let (rows, cols, unit) = parse(&case);
            let grid = PatchGrid::new((rows, cols), 1).unwrap();
            let design = MaskDesign { unit, ratio: 0.75, count: MaskCount::Published };
            let (units, kept) = design.on(grid).unwrap();
            for (row, perm) in ids(fixture.get(&format!("{case}.unit_perm"))).iter().enumerate() {
                let order: Vec<usize> = perm.iter().map(|id| *id as usize).collect();
                let shuffle = units.expand(&order).unwrap();
                let plan = MaskPlan::from_order(&shuffle, kept).unwrap();
                let expected =
                    |part: &str| ids(fixture.get(&format!("{case}.{part}")))[row].clone();
                assert_eq!(shuffle, expected("ids_shuffle"), "{case}");
                assert_eq!(plan.ids_keep(), expected("ids_keep"), "{case}");
                assert_eq!(plan.ids_restore(), expected("ids_restore"), "{case}");
            }
        }
    }
}

/// `g7_m2` or `g6x10_m2` as rows, columns and unit.
fn parse(case: &str) -> (usize, usize, usize) {
    let (grid, unit) = case.strip_prefix('g').unwrap().split_once("_m").unwrap();
    let (rows, cols) = grid.split_once('x').unwrap_or((grid, grid));
    (rows.parse().unwrap(), cols.parse().unwrap(), unit.parse().unwrap())
}
