//! The connections of the lanes: kept between batches, and replaced when they are lost.

use crate::book::*;

#[tokio::test]
async fn one_caller_after_the_other_needs_one_connection() {
    let book = Book::new().await;
    for n in 0..20 {
        book.apply(grant(&format!("user_{n}"), "g", 10)).await.unwrap();
    }
    assert_eq!(book.store.load().writes, (0, 1));
}

#[tokio::test]
async fn a_connection_that_the_server_ended_is_replaced() {
    let book = Book::new().await;
    book.apply(grant("user_1", "g", 10)).await.unwrap();
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity \
         where datname = current_database() and application_name = 'tallystick' and pid <> pg_backend_pid()",
    )
    .execute(book.pool())
    .await
    .unwrap();
    assert_eq!(left(book.apply(spend("user_1", "s", 4)).await), 6);
    assert_eq!(book.store.load().writes, (0, 1));
}
